//! Where in an object the walk is: a chain of steps on the stack, which costs nothing until somebody wants to read it.

use std::fmt::Write as _;

/// A step and the steps before it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Path<'p> {
    before: Option<&'p Path<'p>>,
    step: Step<'p>,
    pub(super) depth: usize,
}

#[derive(Clone, Copy, Debug)]
enum Step<'p> {
    Root,
    Field(&'p str),
    Key(&'p str),
    Index(usize),
}

/// A value of a type that its field cannot have.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("json: cannot unmarshal {found} into Go {target} of type {expected}{}", Detail(.detail))]
pub struct Mismatch {
    /// Such as `spec.ports[0].port`.
    pub field: String,
    /// `string`, `number`, `number 70000000000`, `bool`, `array`, `object`.
    pub found: String,
    /// `struct field ServicePort.spec.ports.port`, or `value` for the whole object.
    pub target: String,
    /// Such as `int32`.
    pub expected: String,
    /// What else there is to say, often nothing.
    pub detail: String,
}

struct Detail<'a>(&'a str);

impl std::fmt::Display for Detail<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0.is_empty() { Ok(()) } else { write!(f, ": {}", self.0) }
    }
}

impl<'p> Path<'p> {
    pub(super) fn root() -> Self {
        Self { before: None, step: Step::Root, depth: 0 }
    }

    pub(super) fn field(&'p self, name: &'p str) -> Path<'p> {
        self.then(Step::Field(name))
    }

    pub(super) fn key(&'p self, key: &'p str) -> Path<'p> {
        self.then(Step::Key(key))
    }

    pub(super) fn index(&'p self, index: usize) -> Path<'p> {
        self.then(Step::Index(index))
    }

    /// As people read it: `spec.ports[0].port`.
    pub(super) fn render(&self) -> String {
        self.render_with(|text, step| match step {
            Step::Root => {}
            Step::Field(name) | Step::Key(name) => dotted(text, name),
            Step::Index(index) => write!(text, "[{index}]").expect("writing to a string cannot fail"),
        })
    }

    /// As upstream's decoder names it: fields only, `spec.ports.port`.
    pub(super) fn render_fields(&self) -> String {
        self.render_with(|text, step| {
            if let Step::Field(name) = step {
                dotted(text, name);
            }
        })
    }

    fn then(&'p self, step: Step<'p>) -> Path<'p> {
        Path { before: Some(self), step, depth: self.depth + 1 }
    }

    fn render_with(&self, mut add: impl FnMut(&mut String, Step<'_>)) -> String {
        let mut steps = Vec::with_capacity(self.depth + 1);
        let mut path = Some(self);
        while let Some(current) = path {
            steps.push(current.step);
            path = current.before;
        }
        let mut text = String::new();
        for step in steps.into_iter().rev() {
            add(&mut text, step);
        }
        text
    }
}

fn dotted(text: &mut String, name: &str) {
    if !text.is_empty() {
        text.push('.');
    }
    text.push_str(name);
}
