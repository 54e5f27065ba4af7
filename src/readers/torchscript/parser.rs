//! From tokens to code as it is written.
//!
//! Owns the grammar of the subset: classes, functions, assignments, `if`, `for`, `while`, `return` and expressions made
//! of names, literals, fields, subscripts and calls. Nesting is bounded. Deliberately resolves no name.

mod expression;

use super::ast::{Attribute, Class, Expr, Function, Item, Parameter, Stmt, StmtKind};
use super::lexer::{Lexeme, Token, lex};
use std::rc::Rc;

/// Where and why code could not be parsed.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("line {line}: {message}")]
pub struct SyntaxError {
    pub line: u32,
    pub message: String,
}

/// Expressions and blocks within one another.
const MAX_DEPTH: usize = 100;

/// Parses one file.
pub fn parse(text: &str) -> Result<Vec<Item>, SyntaxError> {
    let tokens = lex(text)?;
    let mut parser = Parser {
        tokens: &tokens,
        at: 0,
        depth: 0,
    };
    let mut items = Vec::new();
    while parser.at < tokens.len() {
        match parser.peek_name() {
            Some("class") => items.push(Item::Class(Rc::new(parser.class()?))),
            Some("def") => items.push(Item::Function(Rc::new(parser.function()?))),
            // Files of the first versions open with `op_version_set = 1`.
            _ => drop(parser.statement()?),
        }
    }
    Ok(items)
}

struct Parser<'t> {
    tokens: &'t [Lexeme],
    at: usize,
    depth: usize,
}

type Result2<T> = Result<T, SyntaxError>;

impl Parser<'_> {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at).map(|lexeme| &lexeme.token)
    }

    fn peek_name(&self) -> Option<&str> {
        match self.peek() {
            Some(Token::Name(name)) => Some(name),
            _ => None,
        }
    }

    fn peek_symbol(&self) -> Option<char> {
        match self.peek() {
            Some(Token::Symbol(symbol)) => Some(*symbol),
            _ => None,
        }
    }

    fn line(&self) -> u32 {
        let last = self.tokens.get(self.at).or(self.tokens.last());
        last.map_or(1, |lexeme| lexeme.line)
    }

    fn error<T>(&self, message: impl Into<String>) -> Result2<T> {
        Err(SyntaxError {
            line: self.line(),
            message: message.into(),
        })
    }

    fn unexpected<T>(&self, wanted: &str) -> Result2<T> {
        let found = match self.peek() {
            None => "the end of the file".to_owned(),
            Some(Token::Newline) => "the end of the line".to_owned(),
            Some(Token::Indent | Token::Dedent) => "a change of indentation".to_owned(),
            Some(Token::Name(name)) => format!("{name:?}"),
            Some(Token::Symbol('j')) => {
                "a complex number, which is not read; torch.jit.trace keeps it as a tensor".to_owned()
            }
            Some(Token::Symbol(symbol)) => format!("{symbol:?}"),
            Some(Token::Int(int)) => int.to_string(),
            Some(Token::Float(float)) => format!("{float:?}"),
            Some(Token::Str(_)) => "a string".to_owned(),
        };
        self.error(format!("expected {wanted}, found {found}"))
    }

    fn symbol(&mut self, symbol: char) -> Result2<()> {
        if !self.take_symbol(symbol) {
            return self.unexpected(&format!("{symbol:?}"));
        }
        Ok(())
    }

    fn take_symbol(&mut self, symbol: char) -> bool {
        let found = self.peek_symbol() == Some(symbol);
        self.at += usize::from(found);
        found
    }

    fn take_name(&mut self, wanted: &str) -> bool {
        let found = self.peek_name() == Some(wanted);
        self.at += usize::from(found);
        found
    }

    fn name(&mut self) -> Result2<Rc<str>> {
        match self.peek() {
            Some(Token::Name(name)) => {
                let name = name.clone();
                self.at += 1;
                Ok(name)
            }
            _ => self.unexpected("a name"),
        }
    }

    fn token(&mut self, token: &Token, wanted: &str) -> Result2<()> {
        if self.peek() != Some(token) {
            return self.unexpected(wanted);
        }
        self.at += 1;
        Ok(())
    }

    fn newline(&mut self) -> Result2<()> {
        self.token(&Token::Newline, "the end of the line")
    }

    fn deeper<T>(&mut self, parse: impl FnOnce(&mut Self) -> Result2<T>) -> Result2<T> {
        if self.depth >= MAX_DEPTH {
            return self.error(format!("code is nested more than {MAX_DEPTH} deep"));
        }
        self.depth += 1;
        let found = parse(self);
        self.depth -= 1;
        found
    }

    fn class(&mut self) -> Result2<Class> {
        let line = self.line();
        self.at += 1;
        let name = self.name()?;
        let mut base: Rc<str> = "".into();
        if self.take_symbol('(') {
            if self.peek_symbol() != Some(')') {
                base = self.name()?;
            }
            self.symbol(')')?;
        }
        self.symbol(':')?;
        self.newline()?;
        let mut class = Class {
            name,
            line,
            base,
            parameters: Vec::new(),
            buffers: Vec::new(),
            attributes: Vec::new(),
            methods: Vec::new(),
        };
        self.token(&Token::Indent, "an indented block")?;
        while self.peek().is_some_and(|token| *token != Token::Dedent) {
            match self.peek_name() {
                Some("def") => class.methods.push(Rc::new(self.function()?)),
                Some("pass") => {
                    self.at += 1;
                    self.newline()?;
                }
                _ => self.attribute(&mut class)?,
            }
        }
        self.at += 1;
        Ok(class)
    }

    fn attribute(&mut self, class: &mut Class) -> Result2<()> {
        let mut name = self.name()?;
        if &*name == "__annotations__" && self.take_symbol('[') {
            name = match self.peek() {
                Some(Token::Str(text)) => text.clone(),
                _ => return self.unexpected("a string"),
            };
            self.at += 1;
            self.symbol(']')?;
            self.symbol('=')?;
            let ty = Some(self.expression()?);
            class.attributes.push(Attribute { name, ty, value: None });
            return self.newline();
        }
        let ty = match self.take_symbol(':') {
            true => Some(self.expression()?),
            false => None,
        };
        let value = match self.take_symbol('=') {
            true => Some(self.list_without_brackets()?),
            false => None,
        };
        self.newline()?;
        match (&*name, &value) {
            ("__parameters__", Some(value)) => class.parameters = strings(value),
            ("__buffers__", Some(value)) => class.buffers = strings(value),
            _ => class.attributes.push(Attribute { name, ty, value }),
        }
        Ok(())
    }

    fn function(&mut self) -> Result2<Function> {
        let line = self.line();
        self.at += 1;
        let name = self.name()?;
        self.symbol('(')?;
        let mut parameters = Vec::new();
        while !self.take_symbol(')') {
            if self.take_symbol('*') {
                self.take_symbol(',');
                continue;
            }
            let name = self.name()?;
            let ty = match self.take_symbol(':') {
                true => Some(self.expression()?),
                false => None,
            };
            let default = match self.take_symbol('=') {
                true => Some(self.expression()?),
                false => None,
            };
            parameters.push(Parameter { name, ty, default });
            if !self.take_symbol(',') {
                self.symbol(')')?;
                break;
            }
        }
        if self.take_symbol('>') {
            self.expression()?;
        }
        let (start, depth) = (self.at, self.depth);
        let (body, fault) = match self.block() {
            Ok(body) => (body, None),
            Err(fault) => {
                (self.at, self.depth) = (start, depth);
                self.skip_block().ok_or_else(|| fault.clone())?;
                (Vec::new(), Some(fault))
            }
        };
        Ok(Function {
            name,
            line,
            parameters,
            body,
            fault,
        })
    }

    /// Goes behind the next block, whatever it holds; `None` where none begins on this line.
    fn skip_block(&mut self) -> Option<()> {
        let newline = |token: &Lexeme| token.token == Token::Newline;
        self.at += self.tokens[self.at..].iter().position(newline)? + 1;
        (self.peek()? == &Token::Indent).then_some(())?;
        let mut open = 0;
        loop {
            match self.peek()? {
                Token::Indent => open += 1,
                Token::Dedent => open -= 1,
                _ => {}
            }
            self.at += 1;
            if open == 0 {
                return Some(());
            }
        }
    }

    fn block(&mut self) -> Result2<Vec<Stmt>> {
        self.symbol(':')?;
        self.newline()?;
        self.token(&Token::Indent, "an indented block")?;
        self.deeper(|parser| {
            let mut body = Vec::new();
            while parser.peek().is_some_and(|token| *token != Token::Dedent) {
                body.push(parser.statement()?);
            }
            parser.at += 1;
            Ok(body)
        })
    }

    fn statement(&mut self) -> Result2<Stmt> {
        let line = self.line();
        let kind = match self.peek_name() {
            Some("if") => {
                self.at += 1;
                let condition = self.expression()?;
                let then = self.block()?;
                let otherwise = match self.take_name("else") {
                    true => self.block()?,
                    false => Vec::new(),
                };
                StmtKind::If {
                    condition,
                    then,
                    otherwise,
                }
            }
            Some("while") => {
                self.at += 1;
                let condition = self.expression()?;
                let body = self.block()?;
                StmtKind::While { condition, body }
            }
            Some("for") => {
                self.at += 1;
                let target = self.name()?;
                if !self.take_name("in") {
                    return self.unexpected("\"in\"");
                }
                let iterable = self.expression()?;
                let body = self.block()?;
                StmtKind::For { target, iterable, body }
            }
            Some("return") => {
                self.at += 1;
                let value = match self.peek() {
                    Some(Token::Newline) | None => None,
                    _ => Some(self.list_without_brackets()?),
                };
                self.newline()?;
                StmtKind::Return(value)
            }
            Some("pass") => {
                self.at += 1;
                self.newline()?;
                StmtKind::Pass
            }
            Some("with") => {
                self.at += 1;
                let context = self.expression()?;
                let body = self.block()?;
                StmtKind::With { context, body }
            }
            Some(word @ ("class" | "def" | "import" | "from" | "try" | "del" | "global" | "lambda" | "yield")) => {
                return self.error(format!("{word:?} is not read here"));
            }
            _ => self.simple_statement()?,
        };
        Ok(Stmt { line, kind })
    }

    fn simple_statement(&mut self) -> Result2<StmtKind> {
        let first = self.list_without_brackets()?;
        let unpack = matches!(first, Expr::Tuple(_)) && !matches!(self.tokens[self.at - 1].token, Token::Symbol(')'));
        if self.take_symbol(':') {
            self.expression()?;
        }
        if !self.take_symbol('=') {
            self.newline()?;
            return Ok(StmtKind::Expr(first));
        }
        let value = self.list_without_brackets()?;
        self.newline()?;
        let targets = match first {
            Expr::Tuple(targets) if unpack => targets,
            other => vec![other],
        };
        let assignable = |target: &Expr| matches!(target, Expr::Name(_) | Expr::Field(..) | Expr::Index(..));
        if !targets.iter().all(assignable) {
            return self.error("the left side of \"=\" is not assignable");
        }
        Ok(StmtKind::Assign { targets, unpack, value })
    }
}

/// The strings of a list.
fn strings(value: &Expr) -> Vec<Rc<str>> {
    match value {
        Expr::List(items) => items
            .iter()
            .filter_map(|item| match item {
                Expr::Str(text) => Some(text.clone()),
                _ => None,
            })
            .collect(),
        _ => Vec::new(),
    }
}
