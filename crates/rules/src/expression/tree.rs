//! A checked expression: one type for each type of value, so that no tree can be evaluated to the wrong one.

use http::HeaderName;
use regex::Regex;

/// What gives true or false.
#[derive(Clone, Debug)]
pub(super) enum Flag {
    Is(bool),
    Stream,
    Images,
    Schema,
    HasHeader(HeaderName),
    Not(Box<Self>),
    And(Box<(Self, Self)>),
    Or(Box<(Self, Self)>),
    If(Box<(Self, Self, Self)>),
    Alike(Box<(Self, Self)>),
    Numbers(Compare, Box<(Number, Number)>),
    Texts(Compare, Box<(Text, Text)>),
    NumberIn(Box<Number>, Box<[Number]>),
    TextIn(Box<Text>, Texts),
    Starts(Box<(Text, Text)>),
    Ends(Box<(Text, Text)>),
    Contains(Box<(Text, Text)>),
    Matches(Box<Text>, Regex),
    /// Whether the flag holds for some text of the list.
    Exists(Texts, Box<Self>),
    /// Whether it holds for every one.
    All(Texts, Box<Self>),
}

/// What gives a whole number.
#[derive(Clone, Debug)]
pub(super) enum Number {
    Is(i64),
    MessageCount,
    EstimatedTokens,
    MaxTokens,
    ComplexityScore,
    Hour,
    RequestsToday,
    TokensToday,
    SizeOfText(Box<Text>),
    SizeOfTexts(Texts),
    SizeOfHeaders,
    Negative(Box<Self>),
    Of(Arithmetic, Box<(Self, Self)>),
    If(Box<(Flag, Self, Self)>),
}

/// What gives a text.
#[derive(Clone, Debug)]
pub(super) enum Text {
    Is(Box<str>),
    Model,
    Surface,
    Caller,
    User,
    Namespace,
    Region,
    Complexity,
    Header(HeaderName),
    /// The text of the list that is being looked at.
    Each,
    Lower(Box<Self>),
    Joined(Box<(Self, Self)>),
    If(Box<(Flag, Self, Self)>),
}

/// What gives a list of texts.
#[derive(Clone, Debug)]
pub(super) enum Texts {
    These(Box<[Text]>),
    Tools,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Compare {
    Same,
    Different,
    Less,
    LessOrSame,
    More,
    MoreOrSame,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arithmetic {
    Plus,
    Minus,
    Times,
    By,
    Rest,
}
