//! The grammar of label selectors. `in` and `notin` are operators after a key and ordinary words everywhere else.

use super::{Operator, Requirement, SelectorError, qualified_name};
use crate::field::FieldError;

const OPERATORS: &str = "in, notin, =, ==, !=, gt, lt";
const SPECIAL: &str = "=!(),><";

/// The requirements, ordered by key.
pub(super) fn parse(text: &str) -> Result<Vec<Requirement>, SelectorError> {
    let mut tokens = Tokens { rest: text };
    let mut requirements = Vec::new();
    loop {
        match tokens.peek() {
            Token::Word(_) | Token::Symbol("!") => {}
            Token::End => break,
            token => return Err(token.unexpected("!, identifier, or 'end of string'")),
        }
        let requirement = requirement(&mut tokens).map_err(|e| SelectorError::Requirement(Box::new(e)))?;
        requirements.push(requirement);
        match tokens.take() {
            Token::End => break,
            Token::Symbol(",") => match tokens.peek() {
                Token::Word(_) | Token::Symbol("!") => {}
                token => return Err(token.unexpected("identifier after ','")),
            },
            token => return Err(token.unexpected("',' or 'end of string'")),
        }
    }
    requirements.sort_by(|a: &Requirement, b| a.key.cmp(&b.key));
    Ok(requirements)
}

/// Upstream says it of no field.
fn validate_key(key: &str) -> Result<(), SelectorError> {
    let problems = qualified_name(key);
    if problems.is_empty() {
        return Ok(());
    }
    Err(SelectorError::Invalid(FieldError::invalid("<nil>", format!("{key:?}"), problems.join("; "))))
}

fn requirement(tokens: &mut Tokens<'_>) -> Result<Requirement, SelectorError> {
    let mut first = tokens.take();
    let negated = first == Token::Symbol("!");
    if negated {
        first = tokens.take();
    }
    let Token::Word(key) = first else {
        return Err(first.unexpected("identifier"));
    };
    validate_key(key)?;
    if negated {
        return Requirement::new(key, Operator::DoesNotExist);
    }
    if matches!(tokens.peek(), Token::End | Token::Symbol(",")) {
        return Requirement::new(key, Operator::Exists);
    }
    let operator = match tokens.take() {
        Token::Word("in") => Operator::In(values(tokens)?),
        Token::Word("notin") => Operator::NotIn(values(tokens)?),
        Token::Symbol("=" | "==") => Operator::In(vec![value(tokens)?.to_owned()]),
        Token::Symbol("!=") => Operator::NotIn(vec![value(tokens)?.to_owned()]),
        Token::Symbol(">") => Operator::GreaterThan(limit(value(tokens)?)?),
        Token::Symbol("<") => Operator::LessThan(limit(value(tokens)?)?),
        token => return Err(token.unexpected(OPERATORS)),
    };
    Requirement::new(key, operator)
}

fn value<'a>(tokens: &mut Tokens<'a>) -> Result<&'a str, SelectorError> {
    if matches!(tokens.peek(), Token::End | Token::Symbol(",")) {
        return Ok("");
    }
    match tokens.take() {
        Token::Word(word) => Ok(word),
        token => Err(token.unexpected("identifier")),
    }
}

fn limit(text: &str) -> Result<i64, SelectorError> {
    text.parse().map_err(|_| {
        let detail = "for 'Gt', 'Lt' operators, the value must be an integer";
        SelectorError::Invalid(FieldError::invalid("values[0]", format!("{text:?}"), detail))
    })
}

/// `(a,b)`, where a missing word is the empty value.
fn values(tokens: &mut Tokens<'_>) -> Result<Vec<String>, SelectorError> {
    match tokens.take() {
        Token::Symbol("(") => {}
        token => return Err(SelectorError::Unopened { found: token.text().to_owned() }),
    }
    let mut values = Vec::new();
    loop {
        let word = match tokens.peek() {
            Token::Word(word) => {
                tokens.take();
                word
            }
            Token::Symbol("," | ")") => "",
            token => return Err(token.unexpected("',', ')' or identifier")),
        };
        values.push(word.to_owned());
        match tokens.take() {
            Token::Symbol(")") => break,
            Token::Symbol(",") => {}
            token => return Err(token.unexpected("',' or ')'")),
        }
    }
    values.sort_unstable();
    values.dedup();
    Ok(values)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token<'a> {
    Word(&'a str),
    Symbol(&'a str),
    End,
}

impl<'a> Token<'a> {
    fn text(self) -> &'a str {
        match self {
            Token::Word(text) | Token::Symbol(text) => text,
            Token::End => "",
        }
    }

    fn unexpected(self, expected: &'static str) -> SelectorError {
        SelectorError::Unexpected { found: self.text().to_owned(), expected }
    }
}

struct Tokens<'a> {
    rest: &'a str,
}

impl<'a> Tokens<'a> {
    fn take(&mut self) -> Token<'a> {
        let text = self.rest.trim_start_matches([' ', '\t', '\r', '\n']);
        let Some(first) = text.chars().next() else {
            self.rest = text;
            return Token::End;
        };
        let length = if SPECIAL.contains(first) {
            if text.starts_with("==") || text.starts_with("!=") { 2 } else { 1 }
        } else {
            let ends = |c: char| SPECIAL.contains(c) || matches!(c, ' ' | '\t' | '\r' | '\n');
            text.find(ends).unwrap_or(text.len())
        };
        let (token, rest) = text.split_at(length);
        self.rest = rest;
        if SPECIAL.contains(first) { Token::Symbol(token) } else { Token::Word(token) }
    }

    fn peek(&self) -> Token<'a> {
        Tokens { rest: self.rest }.take()
    }
}
