//! Expressions: names, literals, fields, subscripts and calls.

use super::super::ast::{Call, Expr};
use super::super::lexer::Token;
use super::{MAX_DEPTH, Parser, Result2};

impl Parser<'_> {
    /// `a`, or the tuple `a, b` or `a, b,`.
    pub(super) fn list_without_brackets(&mut self) -> Result2<Expr> {
        let first = self.expression()?;
        if self.peek_symbol() != Some(',') {
            return Ok(first);
        }
        let mut items = vec![first];
        while self.take_symbol(',') {
            if matches!(self.peek(), None | Some(Token::Newline | Token::Symbol('=' | ':'))) {
                break;
            }
            items.push(self.expression()?);
        }
        Ok(Expr::Tuple(items))
    }

    pub(super) fn expression(&mut self) -> Result2<Expr> {
        self.deeper(|parser| {
            let mut expr = parser.primary()?;
            // A long chain `a.b.c` nests to the left: bound it too.
            for _ in 0..MAX_DEPTH {
                expr = if parser.take_symbol('.') {
                    Expr::Field(Box::new(expr), parser.name()?)
                } else if parser.take_symbol('[') {
                    let index = parser.items(']')?;
                    let index = match <[Expr; 1]>::try_from(index) {
                        Ok([index]) => index,
                        Err(items) => Expr::Tuple(items),
                    };
                    Expr::Index(Box::new(expr), Box::new(index))
                } else if parser.take_symbol('(') {
                    parser.call(expr)?
                } else {
                    return Ok(expr);
                };
            }
            parser.error(format!("a chain of more than {MAX_DEPTH} fields and calls"))
        })
    }

    fn primary(&mut self) -> Result2<Expr> {
        let Some(token) = self.peek().cloned() else {
            return self.unexpected("an expression");
        };
        self.at += 1;
        Ok(match token {
            Token::Int(int) => Expr::Int(int),
            Token::Float(float) => Expr::Float(float),
            Token::Str(text) => Expr::Str(text),
            Token::Name(name) => match &*name {
                "None" => Expr::None,
                "True" => Expr::Bool(true),
                "False" => Expr::Bool(false),
                "inf" => Expr::Float(f64::INFINITY),
                "nan" => Expr::Float(f64::NAN),
                _ => Expr::Name(name),
            },
            Token::Symbol('-') => match self.expression()? {
                Expr::Int(int) => Expr::Int(int.wrapping_neg()),
                // -2^63 is the one integer whose digits alone do not fit.
                Expr::Float(9_223_372_036_854_775_808.0) => Expr::Int(i64::MIN),
                Expr::Float(float) => Expr::Float(-float),
                other => Expr::Negative(Box::new(other)),
            },
            Token::Symbol('[') => Expr::List(self.items(']')?),
            Token::Symbol('{') => self.dict()?,
            Token::Symbol('(') => {
                let items = self.items(')')?;
                let trailing = self.at >= 2 && self.tokens[self.at - 2].token == Token::Symbol(',');
                match <[Expr; 1]>::try_from(items) {
                    Ok([item]) if !trailing => item,
                    Ok([item]) => Expr::Tuple(vec![item]),
                    Err(items) => Expr::Tuple(items),
                }
            }
            _ => {
                self.at -= 1;
                return self.unexpected("an expression");
            }
        })
    }

    /// Expressions between commas up to `close`.
    fn items(&mut self, close: char) -> Result2<Vec<Expr>> {
        let mut items = Vec::new();
        while !self.take_symbol(close) {
            items.push(self.expression()?);
            if !self.take_symbol(',') {
                self.symbol(close)?;
                break;
            }
        }
        Ok(items)
    }

    fn dict(&mut self) -> Result2<Expr> {
        let mut items = Vec::new();
        while !self.take_symbol('}') {
            let key = self.expression()?;
            self.symbol(':')?;
            items.push((key, self.expression()?));
            if !self.take_symbol(',') {
                self.symbol('}')?;
                break;
            }
        }
        Ok(Expr::Dict(items))
    }

    fn call(&mut self, callee: Expr) -> Result2<Expr> {
        let mut call = Call {
            callee,
            args: Vec::new(),
            keywords: Vec::new(),
        };
        while !self.take_symbol(')') {
            let next = self.tokens.get(self.at + 1).map(|lexeme| &lexeme.token);
            if self.peek_name().is_some() && next == Some(&Token::Symbol('=')) {
                let name = self.name()?;
                self.at += 1;
                call.keywords.push((name, self.expression()?));
            } else {
                call.args.push(self.expression()?);
            }
            if !self.take_symbol(',') {
                self.symbol(')')?;
                break;
            }
        }
        Ok(Expr::Call(Box::new(call)))
    }
}
