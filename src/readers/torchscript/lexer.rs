//! Tokens of the Python subset that TorchScript archives hold.
//!
//! Owns indentation, brackets over several lines, string escapes and the two spellings of numbers. Deliberately keeps
//! no comments and knows no grammar.

use super::parser::SyntaxError;
use std::rc::Rc;

/// One token.
#[derive(Clone, Debug, PartialEq)]
pub enum Token {
    Name(Rc<str>),
    Int(i64),
    Float(f64),
    Str(Rc<str>),
    /// Punctuation: `(`, `)`, `[`, `]`, `{`, `}`, `,`, `:`, `.`, `=`, `-`, `->` (as `>`), the `j` of a complex number, and what is refused later.
    Symbol(char),
    Newline,
    Indent,
    Dedent,
}

/// A token and the line where it starts, from 1.
#[derive(Clone, Debug, PartialEq)]
pub struct Lexeme {
    pub token: Token,
    pub line: u32,
}

/// Deepest indentation, in levels.
const MAX_INDENT: usize = 200;

/// Splits a file into tokens; the last one is always [`Token::Newline`] or [`Token::Dedent`] unless the file is empty.
pub fn lex(text: &str) -> Result<Vec<Lexeme>, SyntaxError> {
    let mut lexer = Lexer {
        text,
        at: 0,
        line: 1,
        found: Vec::new(),
        indents: vec![0],
        open: 0,
    };
    lexer.run()?;
    Ok(lexer.found)
}

struct Lexer<'t> {
    text: &'t str,
    at: usize,
    line: u32,
    found: Vec<Lexeme>,
    indents: Vec<usize>,
    /// Brackets that are open: line ends within them mean nothing.
    open: usize,
}

impl Lexer<'_> {
    fn run(&mut self) -> Result<(), SyntaxError> {
        self.indentation()?;
        while let Some(byte) = self.peek() {
            match byte {
                b' ' | b'\t' | b'\r' => self.at += 1,
                b'#' => self.skip_comment(),
                b'\n' => {
                    self.at += 1;
                    if self.open == 0 {
                        self.end_line();
                    }
                    self.line += 1;
                    if self.open == 0 {
                        self.indentation()?;
                    }
                }
                b'"' | b'\'' => self.string(byte)?,
                b'0'..=b'9' => self.number()?,
                b'.' if self.peek_at(1).is_some_and(|next| next.is_ascii_digit()) => self.number()?,
                b'(' | b'[' | b'{' => {
                    self.open += 1;
                    self.symbol(byte as char, 1);
                }
                b')' | b']' | b'}' => {
                    self.open = self.open.saturating_sub(1);
                    self.symbol(byte as char, 1);
                }
                b'-' if self.peek_at(1) == Some(b'>') => self.symbol('>', 2),
                _ => self.name_or_symbol(),
            }
        }
        self.end_line();
        while self.indents.len() > 1 {
            self.indents.pop();
            self.push(Token::Dedent);
        }
        Ok(())
    }

    fn peek(&self) -> Option<u8> {
        self.peek_at(0)
    }

    fn peek_at(&self, ahead: usize) -> Option<u8> {
        self.text.as_bytes().get(self.at + ahead).copied()
    }

    fn push(&mut self, token: Token) {
        self.found.push(Lexeme { token, line: self.line });
    }

    fn symbol(&mut self, symbol: char, bytes: usize) {
        self.push(Token::Symbol(symbol));
        self.at += bytes;
    }

    fn end_line(&mut self) {
        let blank = matches!(
            self.found.last().map(|last| &last.token),
            None | Some(Token::Newline | Token::Indent | Token::Dedent)
        );
        if !blank {
            self.push(Token::Newline);
        }
    }

    fn skip_comment(&mut self) {
        while self.peek().is_some_and(|byte| byte != b'\n') {
            self.at += 1;
        }
    }

    fn error(&self, message: impl Into<String>) -> SyntaxError {
        SyntaxError {
            line: self.line,
            message: message.into(),
        }
    }

    /// Reads the blanks at the start of a line that holds something.
    fn indentation(&mut self) -> Result<(), SyntaxError> {
        let rest = &self.text.as_bytes()[self.at..];
        let width = rest.iter().take_while(|byte| **byte == b' ').count();
        match rest.get(width) {
            None | Some(b'\n' | b'\r' | b'#') => return Ok(()),
            Some(b'\t') => return Err(self.error("a tab in the indentation")),
            Some(_) => self.at += width,
        }
        let current = self.indents.last().copied().unwrap_or(0);
        if width > current {
            if self.indents.len() >= MAX_INDENT {
                return Err(self.error(format!("blocks are nested more than {MAX_INDENT} deep")));
            }
            self.indents.push(width);
            self.push(Token::Indent);
        }
        while self.indents.last().is_some_and(|&top| top > width) {
            self.indents.pop();
            self.push(Token::Dedent);
        }
        if self.indents.last() != Some(&width) {
            return Err(self.error("the indentation fits no open block"));
        }
        Ok(())
    }

    fn number(&mut self) -> Result<(), SyntaxError> {
        let start = self.at;
        let mut float = false;
        while let Some(byte) = self.peek() {
            let sign = matches!(byte, b'+' | b'-') && matches!(self.text.as_bytes()[self.at - 1], b'e' | b'E');
            match byte {
                b'0'..=b'9' => {}
                b'.' | b'e' | b'E' => float = true,
                _ if sign && self.at > start => {}
                _ => break,
            }
            self.at += 1;
        }
        let text = &self.text[start..self.at];
        // Beyond 64 bits it can only be a whole float.
        let token = match text.parse::<i64>() {
            Ok(int) if !float => Token::Int(int),
            _ => Token::Float(
                text.parse()
                    .map_err(|_| self.error(format!("the number {text:?} is malformed")))?,
            ),
        };
        self.push(token);
        if self.peek() == Some(b'j') {
            self.symbol('j', 1);
        }
        Ok(())
    }

    fn string(&mut self, quote: u8) -> Result<(), SyntaxError> {
        let mut bytes = Vec::new();
        self.at += 1;
        loop {
            let Some(byte) = self.peek() else {
                return Err(self.error("a string does not end"));
            };
            self.at += 1;
            match byte {
                b'\n' => return Err(self.error("a string does not end on its line")),
                b'\\' => bytes.push(self.escape()?),
                _ if byte == quote => break,
                _ => bytes.push(byte),
            }
        }
        self.push(Token::Str(String::from_utf8_lossy(&bytes).into()));
        Ok(())
    }

    fn escape(&mut self) -> Result<u8, SyntaxError> {
        let Some(byte) = self.peek() else {
            return Err(self.error("a string does not end"));
        };
        self.at += 1;
        Ok(match byte {
            b'n' => b'\n',
            b't' => b'\t',
            b'r' => b'\r',
            b'a' => 7,
            b'b' => 8,
            b'f' => 12,
            b'v' => 11,
            b'\\' | b'\'' | b'"' => byte,
            0x29..=0x37 => self.three_digits(self.at - 1)?,
            b'x' => self.digits(self.at, 2, 16)?,
            other => return Err(self.error(format!("the escape \\{} is not known", other.escape_ascii()))),
        })
    }

    /// Three octal digits of one byte. The printer takes bytes as signed, so above 127 each digit may be negative: `/`
    /// is -1, `)` is -7, and `\0)+` is -61, that is 195.
    fn three_digits(&mut self, start: usize) -> Result<u8, SyntaxError> {
        let digits = self.text.as_bytes().get(start..start + 3);
        let digits = digits.filter(|digits| digits.iter().all(|digit| (0x29..=0x37).contains(digit)));
        let Some(digits) = digits else {
            return Err(self.error("an octal escape in a string is malformed"));
        };
        self.at = start + 3;
        let value = digits
            .iter()
            .fold(0, |value, digit| value * 8 + i32::from(*digit) - 0x30);
        Ok(value.rem_euclid(256) as u8)
    }

    /// At most `most` digits of `radix` from `start`, as one byte.
    fn digits(&mut self, start: usize, most: usize, radix: u32) -> Result<u8, SyntaxError> {
        let rest = &self.text.as_bytes()[start..];
        let count = rest
            .iter()
            .take(most)
            .take_while(|byte| (**byte as char).is_digit(radix))
            .count();
        self.at = start + count;
        u8::from_str_radix(&self.text[start..start + count], radix)
            .map_err(|_| self.error("an escape in a string is malformed"))
    }

    fn name_or_symbol(&mut self) {
        let rest = &self.text[self.at..];
        let end = rest
            .find(|char: char| !(char.is_alphanumeric() || char == '_' || !char.is_ascii()))
            .unwrap_or(rest.len());
        if end == 0 {
            let symbol = rest.chars().next().unwrap_or(' ');
            self.symbol(symbol, symbol.len_utf8());
            return;
        }
        let name = &rest[..end];
        self.push(Token::Name(name.into()));
        self.at += end;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &str) {
        let found = match lex(text) {
            Ok(found) => found
                .iter()
                .map(|lexeme| match &lexeme.token {
                    Token::Name(name) => name.to_string(),
                    Token::Int(int) => int.to_string(),
                    Token::Float(float) => format!("{float:?}"),
                    Token::Str(text) => format!("{text:?}"),
                    Token::Symbol(symbol) => symbol.to_string(),
                    Token::Newline => ";".into(),
                    Token::Indent => "{>".into(),
                    Token::Dedent => "<}".into(),
                })
                .collect::<Vec<_>>()
                .join(" "),
            Err(error) => error.to_string(),
        };
        assert_eq!(found, expected, "{text:?}");
    }

    #[test]
    fn numbers_keep_their_kind() {
        check(
            "0. 0.10000000000000001 1.0000000000000001e-05 -0. 10000000000 1e+22 9223372036854775807 .5",
            "0.0 0.1 1e-5 - 0.0 10000000000 1e22 9223372036854775807 0.5 ;",
        );
        check("99999999999999999999", "1e20 ;");
        check("1.2.3", "line 1: the number \"1.2.3\" is malformed");
    }

    #[test]
    fn blocks_and_brackets() {
        check("if a:\n  b\n\n  c(1,\n2)\nd\n", "if a : ; {> b ; c ( 1 , 2 ) ; <} d ;");
        check("a:\n    b\n  c\n", "line 3: the indentation fits no open block");
        check("# nothing\n", "");
    }

    #[test]
    fn strings_have_escapes() {
        check(r#""a\n\"\303\244\x41""#, "\"a\\n\\\"äA\" ;");
        check(r#""\0)+\/0,n""#, "\"ün\" ;");
        check("\"a\nb\"", "line 1: a string does not end on its line");
        check(r#""\"#, "line 1: a string does not end");
    }
}
