//! Every rule that can refuse: its id, its weakness class, and a sentence for the caller.

/// A rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "each has its sentence in `sentence`")]
pub enum Rule {
    BadText,
    TooLong,
    TooDeep,
    DoesNotParse,
    Empty,
    MultipleStatements,
    NotARead,
    WritesInCte,
    SelectInto,
    LockingClause,
    Explain,
    FunctionNotAllowed,
    OperatorNotAllowed,
    TypeNotAllowed,
    Catalog,
    RelationNotAllowed,
    ColumnNotFound,
    ConstructNotAllowed,
    TooCostly,
    PathMalformed,
    PathOutsideRoot,
    PathEncodedTraversal,
    PathHidden,
    PathSecret,
    PathEngineFile,
    PathNotAFile,
    PathHardLink,
    WebMalformed,
    WebScheme,
    WebUserinfo,
    WebPort,
    WebLocalName,
    WebMetadata,
    WebPrivateAddress,
    WebRedirectRefused,
    WebHeader,
    WebMethod,
    WebTooLarge,
    WebAfterData,
    ToolScope,
    ToolUnknown,
    ToolBudget,
}

impl Rule {
    /// Every rule that there is.
    pub const ALL: &[Self] = &[
        Self::BadText,
        Self::TooLong,
        Self::TooDeep,
        Self::DoesNotParse,
        Self::Empty,
        Self::MultipleStatements,
        Self::NotARead,
        Self::WritesInCte,
        Self::SelectInto,
        Self::LockingClause,
        Self::Explain,
        Self::FunctionNotAllowed,
        Self::OperatorNotAllowed,
        Self::TypeNotAllowed,
        Self::Catalog,
        Self::RelationNotAllowed,
        Self::ColumnNotFound,
        Self::ConstructNotAllowed,
        Self::TooCostly,
        Self::PathMalformed,
        Self::PathOutsideRoot,
        Self::PathEncodedTraversal,
        Self::PathHidden,
        Self::PathSecret,
        Self::PathEngineFile,
        Self::PathNotAFile,
        Self::PathHardLink,
        Self::WebMalformed,
        Self::WebScheme,
        Self::WebUserinfo,
        Self::WebPort,
        Self::WebLocalName,
        Self::WebMetadata,
        Self::WebPrivateAddress,
        Self::WebRedirectRefused,
        Self::WebHeader,
        Self::WebMethod,
        Self::WebTooLarge,
        Self::WebAfterData,
        Self::ToolScope,
        Self::ToolUnknown,
        Self::ToolBudget,
    ];

    /// The rule of this id.
    pub fn by_id(id: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|rule| rule.id() == id)
    }

    fn facts(self) -> (&'static str, u16, &'static str) {
        match self {
            Self::BadText => ("sql.bad-text", 20, "a statement is UTF-8 text without NUL"),
            Self::TooLong => (
                "sql.too-long",
                674,
                "a statement has at most 16 KiB and 64 comments",
            ),
            Self::TooDeep => (
                "sql.too-deep",
                674,
                "a statement is nested at most about fifteen queries or a hundred brackets deep",
            ),
            Self::DoesNotParse => ("sql.does-not-parse", 20, "this is no statement"),
            Self::Empty => ("sql.empty", 20, "there is no statement"),
            Self::MultipleStatements => {
                ("sql.multiple-statements", 89, "only one statement is taken")
            }
            Self::NotARead => (
                "sql.not-a-read",
                89,
                "only SELECT, VALUES, TABLE and WITH are taken",
            ),
            Self::WritesInCte => ("sql.writes-in-cte", 89, "a WITH query may only read"),
            Self::SelectInto => ("sql.select-into", 89, "SELECT INTO makes a table"),
            Self::LockingClause => ("sql.locking-clause", 667, "rows may not be locked"),
            Self::Explain => ("sql.explain", 209, "plans are not shown"),
            Self::FunctionNotAllowed => (
                "sql.function-not-allowed",
                862,
                "this function is not allowed",
            ),
            Self::OperatorNotAllowed => (
                "sql.operator-not-allowed",
                862,
                "this operator is not allowed",
            ),
            Self::TypeNotAllowed => ("sql.type-not-allowed", 862, "this type is not allowed"),
            Self::Catalog => (
                "sql.catalog",
                200,
                "the system's own tables and columns are not shown",
            ),
            Self::RelationNotAllowed => (
                "sql.relation-not-allowed",
                862,
                "this table does not exist for you",
            ),
            Self::ColumnNotFound => ("sql.column-not-found", 862, "there is no such column"),
            Self::ConstructNotAllowed => (
                "sql.construct-not-allowed",
                20,
                "this construct is not allowed",
            ),
            Self::TooCostly => ("sql.too-costly", 400, "this would cost too much"),
            Self::PathMalformed => (
                "path.malformed",
                158,
                "a path has no control characters and a sensible length",
            ),
            Self::PathOutsideRoot => ("path.outside-root", 22, "the path leaves what may be read"),
            Self::PathEncodedTraversal => (
                "path.encoded-traversal",
                22,
                "read in another way, the path leaves what may be read",
            ),
            Self::PathHidden => ("path.hidden", 538, "hidden files are not shown"),
            Self::PathSecret => ("path.secret", 538, "files that hold keys are not shown"),
            Self::PathEngineFile => (
                "path.engine-file",
                552,
                "the engine's own files are not shown",
            ),
            Self::PathNotAFile => ("path.not-a-file", 66, "only regular files are read"),
            Self::PathHardLink => (
                "path.hard-link",
                62,
                "files with several names are not read",
            ),
            Self::WebMalformed => (
                "web.malformed",
                20,
                "this is no URL that every reader would read the same way",
            ),
            Self::WebScheme => ("web.scheme", 918, "only http and https are asked"),
            Self::WebUserinfo => ("web.userinfo", 918, "a URL with a user part is not asked"),
            Self::WebPort => ("web.port", 918, "this port is not asked"),
            Self::WebLocalName => ("web.local-name", 918, "this name is only known nearby"),
            Self::WebMetadata => ("web.metadata", 918, "metadata services are not asked"),
            Self::WebPrivateAddress => ("web.private-address", 918, "this address is not public"),
            Self::WebRedirectRefused => (
                "web.redirect-refused",
                601,
                "it leads to where it may not be followed",
            ),
            Self::WebHeader => ("web.header", 113, "this header is not sent"),
            Self::WebMethod => ("web.method", 113, "only GET and HEAD are sent"),
            Self::WebTooLarge => ("web.too-large", 770, "the head of the answer is too large"),
            Self::WebAfterData => (
                "web.after-data",
                200,
                "after data was read, only hosts that the asker or the operator named are asked",
            ),
            Self::ToolScope => ("tool.scope", 862, "this tool is not granted to you"),
            Self::ToolUnknown => ("tool.unknown", 862, "there is no such tool"),
            Self::ToolBudget => ("tool.budget", 770, "one question makes only so many calls"),
        }
    }

    /// Such as `sql.not-a-read`.
    pub fn id(self) -> &'static str {
        self.facts().0
    }

    /// The number in the Common Weakness Enumeration.
    pub fn cwe(self) -> u16 {
        self.facts().1
    }

    /// For the caller.
    pub fn sentence(self) -> &'static str {
        self.facts().2
    }
}

/// A decision against a text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {why}", .rule.id())]
pub struct Refusal {
    /// Which rule it was.
    pub rule: Rule,
    /// For the caller; names only what the caller wrote.
    pub why: String,
    /// From 1.
    pub line: Option<u32>,
    /// From 1, in characters.
    pub column: Option<u32>,
}

impl Refusal {
    /// By the rule's own sentence.
    pub fn of(rule: Rule) -> Self {
        Self::new(rule, "")
    }

    /// The rule's own sentence, and what it is about.
    pub(crate) fn new(rule: Rule, about: &str) -> Self {
        let why = if about.is_empty() {
            rule.sentence().to_owned()
        } else {
            format!("{}: `{about}`", rule.sentence())
        };
        Self {
            rule,
            why,
            line: None,
            column: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_rule_has_an_id_and_a_sentence_of_its_own() {
        let ids: BTreeSet<&str> = Rule::ALL.iter().map(|rule| rule.id()).collect();
        let sentences: BTreeSet<&str> = Rule::ALL.iter().map(|rule| rule.sentence()).collect();
        assert_eq!(
            (ids.len(), sentences.len()),
            (Rule::ALL.len(), Rule::ALL.len())
        );
        assert!(
            Rule::ALL
                .iter()
                .all(|rule| Rule::by_id(rule.id()) == Some(*rule))
        );
        assert!(Rule::ALL.is_sorted(), "each stands once");
    }
}
