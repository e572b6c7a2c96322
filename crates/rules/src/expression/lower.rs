//! From CEL's syntax tree to a checked one.

use std::cell::Cell;

use cel::common::ast::{CallExpr, Expr, LiteralValue, SelectExpr, operators};
use cel::{Env, IdedExpr, ParseErrors, Program};
use http::HeaderName;
use regex::RegexBuilder;

use super::tree::{Arithmetic, Compare, Flag, Number, Text, Texts};
use super::{BadExpression, MOST_CHARACTERS};
use crate::view::{FIELDS, Field};

/// Most memory that a pattern's program may take, in bytes.
const MOST_PATTERN: usize = 1 << 18;
/// Most characters of the parser's own words that are told.
const MOST_SAID: usize = 160;
/// Headers that hold a secret. Who holds it is `request.caller`.
const SECRETS: [&str; 5] = ["authorization", "api-key", "cookie", "proxy-authorization", "x-api-key"];
/// What a rule can call.
const FUNCTIONS: &str = "size, has, contains, startsWith, endsWith, matches, lowerAscii, exists and all";

/// A checked value of any type.
enum Value {
    Flag(Flag),
    Number(Number),
    Text(Text),
    Texts(Texts),
    Numbers(Box<[Number]>),
    Headers,
}

impl Value {
    fn kind(&self) -> &'static str {
        match self {
            Self::Flag(_) => "a bool",
            Self::Number(_) => "a number",
            Self::Text(_) => "a text",
            Self::Texts(_) => "a list of texts",
            Self::Numbers(_) => "a list of numbers",
            Self::Headers => "the map of headers",
        }
    }
}

type Checked<T> = Result<T, BadExpression>;

/// The checked tree, and whether it asks for what the policy has had today.
pub(super) fn compile(text: &str) -> Checked<(Flag, bool)> {
    if let Some((at, _)) = text.char_indices().nth(MOST_CHARACTERS) {
        let problem = format!("the expression has more than {MOST_CHARACTERS} characters; make two rules of it");
        return Err(place(text, at, problem));
    }
    // Without CEL's macros `exists` and `all` stay calls, which is how they are understood here.
    let program = Env::default().with_optional_support(false).compile(text).map_err(|errors| unparsed(&errors))?;
    let root = program.expression();
    let counts = Cell::new(false);
    let checker = Checker { text, program: &program, each: None, counts: &counts };
    match checker.value(root)? {
        Value::Flag(flag) => Ok((flag, counts.get())),
        other => Err(checker.wrong(root, format!("a rule must say true or false, but this is {}", other.kind()))),
    }
}

/// What CEL's parser says first.
fn unparsed(errors: &ParseErrors) -> BadExpression {
    let first = errors.errors.first();
    let from_one = |number: isize| usize::try_from(number).unwrap_or(0).max(1);
    let (line, column) = first.map_or((1, 1), |error| (from_one(error.pos.0), from_one(error.pos.1)));
    let said =
        first.map_or("it is no CEL expression", |error| error.msg.strip_prefix("Syntax error: ").unwrap_or(&error.msg));
    let problem = if said.contains("Recursion limit") {
        "it is nested too deeply here; make several rules of it".to_owned()
    } else if said.contains("'<EOF>'") {
        "it ends here, where something must follow".to_owned()
    } else {
        // It may repeat all that it could not read.
        said.chars().take(MOST_SAID).collect()
    };
    BadExpression { line, column, problem }
}

/// A problem at a byte.
fn place(text: &str, at: usize, problem: String) -> BadExpression {
    let before = text.get(..at).unwrap_or_default();
    let column = before.rsplit('\n').next().map_or(0, |line| line.chars().count()) + 1;
    BadExpression { line: before.matches('\n').count() + 1, column, problem }
}

struct Checker<'a> {
    text: &'a str,
    program: &'a Program,
    /// The name that a list's condition gives to the text being looked at.
    each: Option<&'a str>,
    /// Set once something asks for what the policy has had today.
    counts: &'a Cell<bool>,
}

impl<'a> Checker<'a> {
    fn wrong(&self, at: &IdedExpr, problem: impl Into<String>) -> BadExpression {
        let start = self.program.source_info().offset_for(at.id).map_or(0, |(start, _)| start);
        place(self.text, usize::try_from(start).unwrap_or(0), problem.into())
    }

    fn value(&self, at: &'a IdedExpr) -> Checked<Value> {
        match &at.expr {
            Expr::Literal(literal) => self.literal(at, literal),
            Expr::Ident(name) if self.each == Some(name) => Ok(Value::Text(Text::Each)),
            Expr::Ident(name) if name == "request" => {
                Err(self.wrong(at, format!("say which field of it: {}", names())))
            }
            Expr::Ident(name) => {
                Err(self.wrong(at, format!("there is no {name:?}; all that is known begins with request.")))
            }
            Expr::Select(select) => self.select(at, select),
            Expr::List(list) => self.list(at, &list.elements),
            Expr::Call(call) => self.call(at, call),
            Expr::Map(_) | Expr::Struct(_) | Expr::Comprehension(_) | Expr::Unspecified => {
                Err(self.wrong(at, "maps and structures are of no use here"))
            }
        }
    }

    fn literal(&self, at: &IdedExpr, literal: &LiteralValue) -> Checked<Value> {
        Ok(match literal {
            LiteralValue::Boolean(is) => Value::Flag(Flag::Is(*is.inner())),
            LiteralValue::Int(number) => Value::Number(Number::Is(*number.inner())),
            LiteralValue::String(text) => Value::Text(Text::Is(text.inner().into())),
            LiteralValue::Double(_) | LiteralValue::UInt(_) => {
                return Err(self.wrong(at, "all numbers here are whole ones, written without a fraction or a u"));
            }
            LiteralValue::Bytes(_) | LiteralValue::Null => {
                return Err(self.wrong(at, "nothing here is bytes or null; a header that is missing reads as \"\""));
            }
        })
    }

    fn select(&self, at: &'a IdedExpr, select: &'a SelectExpr) -> Checked<Value> {
        if !matches!(&select.operand.expr, Expr::Ident(name) if name == "request") {
            return match self.value(&select.operand)? {
                Value::Headers => Ok(Value::Text(Text::Header(self.header(at, &select.field)?))),
                other => Err(self.wrong(at, format!("{} has no field {:?}", other.kind(), select.field))),
            };
        }
        Ok(match select.field.as_str() {
            "model" => Value::Text(Text::Model),
            "surface" => Value::Text(Text::Surface),
            "caller" => Value::Text(Text::Caller),
            "user" => Value::Text(Text::User),
            "namespace" => Value::Text(Text::Namespace),
            "region" => Value::Text(Text::Region),
            "complexity" => Value::Text(Text::Complexity),
            "stream" => Value::Flag(Flag::Stream),
            "images" => Value::Flag(Flag::Images),
            "schema" => Value::Flag(Flag::Schema),
            "messageCount" => Value::Number(Number::MessageCount),
            "estimatedTokens" => Value::Number(Number::EstimatedTokens),
            "maxTokens" => Value::Number(Number::MaxTokens),
            "complexityScore" => Value::Number(Number::ComplexityScore),
            "hour" => Value::Number(Number::Hour),
            "requestsToday" => self.today(Number::RequestsToday),
            "tokensToday" => self.today(Number::TokensToday),
            "tools" => Value::Texts(Texts::Tools),
            "headers" => Value::Headers,
            other => return Err(self.wrong(at, format!("request has no field {other:?}; it has {}", names()))),
        })
    }

    fn today(&self, number: Number) -> Value {
        self.counts.set(true);
        Value::Number(number)
    }

    fn list(&self, at: &'a IdedExpr, elements: &'a [IdedExpr]) -> Checked<Value> {
        let (mut texts, mut numbers) = (Vec::new(), Vec::new());
        for element in elements {
            match self.value(element)? {
                Value::Text(text) => texts.push(text),
                Value::Number(number) => numbers.push(number),
                other => {
                    return Err(
                        self.wrong(element, format!("a list holds texts or numbers, but this is {}", other.kind()))
                    );
                }
            }
        }
        match (texts.is_empty(), numbers.is_empty()) {
            (_, true) => Ok(Value::Texts(Texts::These(texts.into()))),
            (true, false) => Ok(Value::Numbers(numbers.into())),
            (false, false) => Err(self.wrong(at, "a list holds either texts or numbers, not both")),
        }
    }

    fn call(&self, at: &'a IdedExpr, call: &'a CallExpr) -> Checked<Value> {
        // `size(x)` and `x.size()` are the same.
        let all: Vec<&'a IdedExpr> = call.target.as_deref().into_iter().chain(&call.args).collect();
        let member = call.target.is_some();
        match (call.func_name.as_str(), member, all.as_slice()) {
            (operators::LOGICAL_AND, false, [a, b]) => Ok(Value::Flag(Flag::And(self.flags(a, b)?))),
            (operators::LOGICAL_OR, false, [a, b]) => Ok(Value::Flag(Flag::Or(self.flags(a, b)?))),
            (operators::LOGICAL_NOT, false, [a]) => Ok(Value::Flag(Flag::Not(Box::new(self.flag(a)?)))),
            (operators::NEGATE, false, [a]) => Ok(Value::Number(Number::Negative(Box::new(self.number(a)?)))),
            (operators::CONDITIONAL, false, [a, b, c]) => self.either(a, b, c),
            (operators::INDEX, false, [of, key]) => self.index(of, key),
            (operators::IN, false, [one, list]) => self.is_in(one, list),
            ("has", false, [of]) => self.has(of),
            ("size", _, [of]) => self.size(of),
            ("exists", true, [list, name, holds]) => {
                let (list, holds) = self.each_of(at, list, name, holds)?;
                Ok(Value::Flag(Flag::Exists(list, holds)))
            }
            ("all", true, [list, name, holds]) => {
                let (list, holds) = self.each_of(at, list, name, holds)?;
                Ok(Value::Flag(Flag::All(list, holds)))
            }
            ("lowerAscii", true, [of]) => Ok(Value::Text(Text::Lower(Box::new(self.text(of)?)))),
            ("startsWith", true, [a, b]) => Ok(Value::Flag(Flag::Starts(self.texts(a, b)?))),
            ("endsWith", true, [a, b]) => Ok(Value::Flag(Flag::Ends(self.texts(a, b)?))),
            ("contains", true, [a, b]) => Ok(Value::Flag(Flag::Contains(self.texts(a, b)?))),
            ("matches", _, [of, pattern]) => self.matches(of, pattern),
            (name, false, [a, b]) if compare(name).is_some() || arithmetic(name).is_some() => {
                self.operator(at, name, a, b)
            }
            (name, _, _) => Err(self.wrong(at, format!("{} cannot be called so; there are {FUNCTIONS}", plain(name)))),
        }
    }

    fn operator(&self, at: &'a IdedExpr, name: &str, a: &'a IdedExpr, b: &'a IdedExpr) -> Checked<Value> {
        let (left, right) = (self.value(a)?, self.value(b)?);
        let kinds = (left.kind(), right.kind());
        match (compare(name), arithmetic(name), left, right) {
            (Some(how), _, Value::Number(a), Value::Number(b)) => Ok(Value::Flag(Flag::Numbers(how, Box::new((a, b))))),
            (Some(how), _, Value::Text(left), Value::Text(right)) => {
                self.possible(b, &left, &right)?;
                self.possible(a, &right, &left)?;
                Ok(Value::Flag(Flag::Texts(how, Box::new((left, right)))))
            }
            (Some(Compare::Same), _, Value::Flag(a), Value::Flag(b)) => Ok(Value::Flag(Flag::Alike(Box::new((a, b))))),
            (Some(Compare::Different), _, Value::Flag(a), Value::Flag(b)) => {
                Ok(Value::Flag(Flag::Not(Box::new(Flag::Alike(Box::new((a, b)))))))
            }
            (_, Some(how), Value::Number(a), Value::Number(b)) => Ok(Value::Number(Number::Of(how, Box::new((a, b))))),
            (_, Some(Arithmetic::Plus), Value::Text(a), Value::Text(b)) => {
                Ok(Value::Text(Text::Joined(Box::new((a, b)))))
            }
            _ => Err(self.wrong(at, format!("{} does not go between {} and {}", plain(name), kinds.0, kinds.1))),
        }
    }

    /// Refuses to compare a field that has only a few values with a text that is none of them.
    fn possible(&self, at: &IdedExpr, field: &Text, with: &Text) -> Checked<()> {
        let name = match field {
            Text::Complexity => "complexity",
            Text::Surface => "surface",
            _ => return Ok(()),
        };
        let values = FIELDS.iter().find(|field| field.name == name).map_or(&[][..], |field| field.values);
        match with {
            Text::Is(text) if !values.contains(&&**text) => {
                Err(self.wrong(at, format!("request.{name} is never {text:?}, only one of {}", values.join(", "))))
            }
            _ => Ok(()),
        }
    }

    fn either(&self, a: &'a IdedExpr, b: &'a IdedExpr, c: &'a IdedExpr) -> Checked<Value> {
        let which = self.flag(a)?;
        match (self.value(b)?, self.value(c)?) {
            (Value::Flag(b), Value::Flag(c)) => Ok(Value::Flag(Flag::If(Box::new((which, b, c))))),
            (Value::Number(b), Value::Number(c)) => Ok(Value::Number(Number::If(Box::new((which, b, c))))),
            (Value::Text(b), Value::Text(c)) => Ok(Value::Text(Text::If(Box::new((which, b, c))))),
            (_, other) => {
                Err(self.wrong(c, format!("both sides of ':' must be of one kind, but this is {}", other.kind())))
            }
        }
    }

    fn index(&self, of: &'a IdedExpr, key: &'a IdedExpr) -> Checked<Value> {
        match (self.value(of)?, self.value(key)?) {
            (Value::Headers, Value::Text(Text::Is(name))) => Ok(Value::Text(Text::Header(self.header(key, &name)?))),
            (Value::Headers, _) => {
                Err(self.wrong(key, "the name of a header must be written out, as in request.headers[\"x-batch\"]"))
            }
            (other, _) => {
                Err(self.wrong(of, format!("only request.headers is looked into by [ ], but this is {}", other.kind())))
            }
        }
    }

    fn is_in(&self, one: &'a IdedExpr, list: &'a IdedExpr) -> Checked<Value> {
        Ok(Value::Flag(match (self.value(one)?, self.value(list)?) {
            (Value::Text(one), Value::Texts(texts)) => {
                if let Texts::These(these) = &texts {
                    these.iter().try_for_each(|with| self.possible(list, &one, with))?;
                }
                Flag::TextIn(Box::new(one), texts)
            }
            (Value::Number(one), Value::Numbers(numbers)) => Flag::NumberIn(Box::new(one), numbers),
            (Value::Text(Text::Is(name)), Value::Headers) => Flag::HasHeader(self.header(one, &name)?),
            (left, right) => {
                return Err(self.wrong(list, format!("{} cannot be in {}", left.kind(), right.kind())));
            }
        }))
    }

    fn has(&self, of: &'a IdedExpr) -> Checked<Value> {
        match self.value(of)? {
            Value::Text(Text::Header(name)) => Ok(Value::Flag(Flag::HasHeader(name))),
            _ => Err(self.wrong(of, "only a header can be missing: has(request.headers.NAME)")),
        }
    }

    fn size(&self, of: &'a IdedExpr) -> Checked<Value> {
        Ok(Value::Number(match self.value(of)? {
            Value::Text(text) => Number::SizeOfText(Box::new(text)),
            Value::Texts(texts) => Number::SizeOfTexts(texts),
            Value::Numbers(numbers) => Number::Is(i64::try_from(numbers.len()).unwrap_or(i64::MAX)),
            Value::Headers => Number::SizeOfHeaders,
            other @ (Value::Flag(_) | Value::Number(_)) => {
                return Err(self.wrong(of, format!("{} has no size", other.kind())));
            }
        }))
    }

    fn each_of(
        &self,
        at: &IdedExpr,
        list: &'a IdedExpr,
        name: &'a IdedExpr,
        holds: &'a IdedExpr,
    ) -> Checked<(Texts, Box<Flag>)> {
        if self.each.is_some() {
            return Err(self.wrong(at, "exists and all may not stand within each other, so that a rule stays cheap"));
        }
        let Value::Texts(list) = self.value(list)? else {
            return Err(self.wrong(list, "exists and all look through a list of texts, such as request.tools"));
        };
        let Expr::Ident(name) = &name.expr else {
            return Err(self.wrong(name, "here stands a name for one text of the list, as in exists(t, t == \"x\")"));
        };
        let within = Checker { each: Some(name), ..*self };
        Ok((list, Box::new(within.flag(holds)?)))
    }

    fn matches(&self, of: &'a IdedExpr, pattern: &'a IdedExpr) -> Checked<Value> {
        let of = self.text(of)?;
        let Text::Is(written) = self.text(pattern)? else {
            return Err(self.wrong(pattern, "the pattern must be written out, so that it is read only once"));
        };
        let built = RegexBuilder::new(&written).size_limit(MOST_PATTERN).build();
        let built = built.map_err(|error| {
            // The last line says what is wrong; those before repeat the pattern.
            let text = error.to_string();
            self.wrong(
                pattern,
                format!("bad pattern: {}", text.lines().last().unwrap_or_default().trim_start_matches("error: ")),
            )
        })?;
        Ok(Value::Flag(Flag::Matches(Box::new(of), built)))
    }

    fn header(&self, at: &IdedExpr, name: &str) -> Checked<HeaderName> {
        let name: HeaderName =
            name.parse().map_err(|_| self.wrong(at, format!("{name:?} cannot be the name of a header")))?;
        if SECRETS.contains(&name.as_str()) {
            return Err(self.wrong(at, format!("{name:?} holds a secret, which rules do not see; use request.caller")));
        }
        Ok(name)
    }

    fn flag(&self, at: &'a IdedExpr) -> Checked<Flag> {
        match self.value(at)? {
            Value::Flag(flag) => Ok(flag),
            other => Err(self.wrong(at, format!("true or false must stand here, but this is {}", other.kind()))),
        }
    }

    fn number(&self, at: &'a IdedExpr) -> Checked<Number> {
        match self.value(at)? {
            Value::Number(number) => Ok(number),
            other => Err(self.wrong(at, format!("a number must stand here, but this is {}", other.kind()))),
        }
    }

    fn text(&self, at: &'a IdedExpr) -> Checked<Text> {
        match self.value(at)? {
            Value::Text(text) => Ok(text),
            other => Err(self.wrong(at, format!("a text must stand here, but this is {}", other.kind()))),
        }
    }

    fn flags(&self, a: &'a IdedExpr, b: &'a IdedExpr) -> Checked<Box<(Flag, Flag)>> {
        Ok(Box::new((self.flag(a)?, self.flag(b)?)))
    }

    fn texts(&self, a: &'a IdedExpr, b: &'a IdedExpr) -> Checked<Box<(Text, Text)>> {
        Ok(Box::new((self.text(a)?, self.text(b)?)))
    }
}

fn compare(name: &str) -> Option<Compare> {
    Some(match name {
        operators::EQUALS => Compare::Same,
        operators::NOT_EQUALS => Compare::Different,
        operators::LESS => Compare::Less,
        operators::LESS_EQUALS => Compare::LessOrSame,
        operators::GREATER => Compare::More,
        operators::GREATER_EQUALS => Compare::MoreOrSame,
        _ => return None,
    })
}

fn arithmetic(name: &str) -> Option<Arithmetic> {
    Some(match name {
        operators::ADD => Arithmetic::Plus,
        operators::SUBSTRACT => Arithmetic::Minus,
        operators::MULTIPLY => Arithmetic::Times,
        operators::DIVIDE => Arithmetic::By,
        operators::MODULO => Arithmetic::Rest,
        _ => return None,
    })
}

/// An operator as it is written: CEL calls `==` by `_==_`.
fn plain(name: &str) -> String {
    format!("{:?}", name.trim_matches(['_', '@']))
}

fn names() -> String {
    FIELDS.map(|Field { name, .. }| name).join(", ")
}
