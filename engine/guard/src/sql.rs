//! May this statement run? Parsed with Postgres' own grammar; then every value of the tree has to be known and allowed.

mod allowed;
mod cost;
mod names;
mod schema;
mod tree;

pub use schema::SchemaError;

use crate::{Refusal, Rule};
use std::collections::{BTreeMap, BTreeSet};

/// A table or view that may be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relation {
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// The names of its columns.
    pub columns: Vec<String>,
}

/// Everything that may be read.
#[derive(Debug, Clone, Default)]
pub struct Schema {
    relations: BTreeMap<String, BTreeMap<String, Vec<String>>>,
    columns: BTreeSet<String>,
    /// Functions and operators that are not Postgres' own and that a bare name or symbol could mean.
    functions: BTreeSet<String>,
    operators: BTreeSet<String>,
}

/// What a name without a schema means.
pub const DEFAULT_SCHEMA: &str = "public";

impl Schema {
    /// Of these relations.
    pub fn new(relations: Vec<Relation>) -> Self {
        let columns = relations
            .iter()
            .flat_map(|relation| relation.columns.iter().cloned())
            .collect();
        let mut schema = Self {
            columns,
            ..Self::default()
        };
        for relation in relations {
            let named = schema.relations.entry(relation.schema).or_default();
            named.insert(relation.name, relation.columns);
        }
        schema
    }

    /// Beside functions and operators of the database's owner, which must not be called by a name that looks like
    /// one of Postgres' own.
    #[must_use]
    pub fn beside(mut self, functions: Vec<String>, operators: Vec<String>) -> Self {
        self.functions.extend(functions);
        self.operators.extend(operators);
        self
    }

    /// What may be read without naming a schema, with its columns.
    pub fn relations(&self) -> impl Iterator<Item = (&str, &[String])> {
        let named = self.relations.get(DEFAULT_SCHEMA).into_iter().flatten();
        named.map(|(name, columns)| (name.as_str(), columns.as_slice()))
    }

    fn columns_of(&self, schema: &str, name: &str) -> Option<&[String]> {
        let schema = if schema.is_empty() {
            DEFAULT_SCHEMA
        } else {
            schema
        };
        let columns = self.relations.get(schema)?.get(name)?;
        Some(columns.as_slice())
    }
}

/// A statement that only reads what may be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadOnlySql {
    text: String,
    /// Where the statement ends, without a final semicolon.
    end: usize,
    tables: Vec<String>,
    sources: usize,
}

impl ReadOnlySql {
    /// The statement, as it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The statement without its final semicolon, to stand within another.
    pub fn bare(&self) -> &str {
        self.text.get(..self.end).unwrap_or(&self.text)
    }

    /// As written, sorted, the default schema left out.
    pub fn tables(&self) -> &[String] {
        &self.tables
    }

    /// How often it reads from anything: tables, queries of its own, functions in FROM.
    pub fn sources(&self) -> usize {
        self.sources
    }
}

const LONGEST: usize = 16 * 1024;
const MOST_COMMENTS: usize = 64;
const DEEPEST_BRACKETS: i32 = 100;

/// The limits on the text itself, for any dialect.
pub fn check_text(statement: &str) -> Result<(), Refusal> {
    if statement.contains('\0') {
        return Err(Refusal::new(Rule::BadText, ""));
    }
    if statement.len() > LONGEST || statement.matches("/*").count() > MOST_COMMENTS {
        return Err(Refusal::new(Rule::TooLong, ""));
    }
    if statement.trim().is_empty() {
        return Err(Refusal::new(Rule::Empty, ""));
    }
    Ok(())
}

/// The limits on a text for `SQLite`, whose own authorizer decides the rest: its parser has no bound on brackets.
pub fn check_sqlite_text(statement: &str) -> Result<(), Refusal> {
    check_text(statement)?;
    let mut depth = 0_i32;
    let too_deep = statement.bytes().any(|byte| {
        depth += match byte {
            b'(' => 1,
            b')' => -1,
            _ => 0,
        };
        depth > DEEPEST_BRACKETS
    });
    if wide_format(statement) {
        return Err(Refusal::new(Rule::TooCostly, ""));
    }
    if too_deep {
        Err(Refusal::new(Rule::TooDeep, ""))
    } else {
        Ok(())
    }
}

/// Whether a call of `printf` or `format` could ask for a width of a thousand and more: it is filled before any clock looks.
fn wide_format(statement: &str) -> bool {
    let folded = statement.to_ascii_lowercase();
    if !folded.contains("printf") && !folded.contains("format") {
        return false;
    }
    folded.split('%').skip(1).any(|rest| {
        let width: String = rest
            .chars()
            .take_while(|c| c.is_ascii_digit() || "-+ ,#!.*".contains(*c))
            .collect();
        width.contains('*')
            || width
                .split(|c: char| !c.is_ascii_digit())
                .any(|digits| digits.len() > 3)
    })
}

/// Decides on a statement for Postgres.
pub fn check(statement: &str, schema: &Schema) -> Result<ReadOnlySql, Refusal> {
    check_text(statement)?;
    let parsed = pg_query::parse(statement, pg_query::ParserOptions::default()).map_err(
        |error| match error {
            // The tree was parsed, and is deeper than it may be decoded.
            pg_query::Error::Decode(_) => Refusal::new(Rule::TooDeep, ""),
            // The parser's own bound on its stack, in its words.
            pg_query::Error::Parse(reason)
                if reason.contains("stack depth")
                    || reason.contains("nested too deeply")
                    || reason.contains("memory exhausted") =>
            {
                Refusal::new(Rule::TooDeep, "")
            }
            _ => Refusal::new(Rule::DoesNotParse, ""),
        },
    )?;
    let statements = &parsed.protobuf.stmts;
    match statements.len() {
        0 => return Err(Refusal::new(Rule::Empty, "")),
        1 => {}
        _ => return Err(Refusal::new(Rule::MultipleStatements, "")),
    }
    let mut walk = tree::Walk::new(schema);
    walk.statement(statements[0].stmt.as_deref())
        .map_err(|(refusal, at)| placed(refusal, statement, at))?;
    let (tables, sources) = walk.found();
    let of_parser = |number: i32| usize::try_from(number).ok().filter(|number| *number > 0);
    let length = of_parser(statements[0].stmt_len);
    let start = of_parser(statements[0].stmt_location).unwrap_or(0);
    Ok(ReadOnlySql {
        text: statement.to_owned(),
        end: length.map_or(statement.len(), |length| start + length),
        tables,
        sources,
    })
}

/// With the line and column of a byte of the statement.
fn placed(mut refusal: Refusal, statement: &str, at: i32) -> Refusal {
    let before = usize::try_from(at).ok().and_then(|at| statement.get(..at));
    if let Some(before) = before {
        let last = before.rsplit('\n').next().unwrap_or_default();
        refusal.line = u32::try_from(before.matches('\n').count() + 1).ok();
        refusal.column = u32::try_from(last.chars().count() + 1).ok();
    }
    refusal
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema() -> Schema {
        let relation = |name: &str, columns: &[&str]| Relation {
            schema: "public".into(),
            name: name.into(),
            columns: columns.iter().map(ToString::to_string).collect(),
        };
        Schema::new(vec![
            relation("companies", &["id", "name"]),
            relation(
                "financial_records",
                &["company_id", "year", "quarter", "revenue"],
            ),
        ])
    }

    #[test]
    fn every_way_to_write_or_to_look_elsewhere_is_refused_by_its_rule() {
        let cases = [
            ("DELETE FROM companies", Rule::NotARead),
            ("SELECT 1; DROP TABLE companies", Rule::MultipleStatements),
            (
                "WITH d AS (DELETE FROM companies RETURNING id) SELECT * FROM d",
                Rule::WritesInCte,
            ),
            ("SELECT * INTO x FROM companies", Rule::SelectInto),
            ("SELECT * FROM companies FOR UPDATE", Rule::LockingClause),
            ("EXPLAIN ANALYZE SELECT 1", Rule::Explain),
            ("SELECT pg_sleep(1)", Rule::FunctionNotAllowed),
            (
                "SELECT id FROM companies LIMIT nextval('s')",
                Rule::FunctionNotAllowed,
            ),
            (
                "SELECT count(*) FILTER (WHERE set_config('a','b',true) = '') FROM companies",
                Rule::FunctionNotAllowed,
            ),
            (
                "SELECT * FROM pg_read_file('/etc/passwd')",
                Rule::FunctionNotAllowed,
            ),
            ("SELECT * FROM pg_stats", Rule::Catalog),
            ("SELECT * FROM information_schema.tables", Rule::Catalog),
            ("SELECT ctid FROM companies", Rule::Catalog),
            (
                "WITH secrets AS (SELECT * FROM secrets) SELECT * FROM secrets",
                Rule::RelationNotAllowed,
            ),
            (
                "SELECT * FROM (WITH secrets AS (SELECT 1) SELECT * FROM secrets) x, secrets",
                Rule::RelationNotAllowed,
            ),
            ("SELECT * FROM secrets", Rule::RelationNotAllowed),
            (
                "SELECT c.id FROM companies c JOIN secrets s ON s.id = c.id",
                Rule::RelationNotAllowed,
            ),
            (
                "SELECT 1 UNION SELECT id FROM secrets",
                Rule::RelationNotAllowed,
            ),
            ("SELECT * FROM other.companies", Rule::RelationNotAllowed),
            ("SELECT 'x'::regclass", Rule::TypeNotAllowed),
            ("SELECT 1 OPERATOR(x.+) 2", Rule::OperatorNotAllowed),
            ("SELECT c.fn FROM companies c", Rule::ColumnNotFound),
            ("SELECT current_user", Rule::ConstructNotAllowed),
            ("COPY companies TO STDOUT", Rule::NotARead),
            ("SELEC 1", Rule::DoesNotParse),
            ("-- nothing", Rule::Empty),
            (
                "SELECT * FROM generate_series(1, 100000000)",
                Rule::TooCostly,
            ),
        ];
        for (statement, rule) in cases {
            assert_eq!(
                check(statement, &schema()).map_err(|refusal| refusal.rule),
                Err(rule),
                "{statement}"
            );
        }
    }

    #[test]
    fn what_questions_need_is_taken_and_names_its_tables() {
        let cases = [
            "SELECT sum(revenue) AS revenue FROM financial_records WHERE quarter = 'Q1' AND year = 2025",
            "SELECT c.name, f.revenue::numeric / 1e6 FROM companies c JOIN public.financial_records f ON f.company_id = c.id ORDER BY 2 DESC NULLS LAST LIMIT 5;",
            "WITH t AS (SELECT year, sum(revenue) AS r FROM financial_records GROUP BY year) SELECT t.year, t.r, lag(t.r) OVER (ORDER BY t.year) FROM t",
            "SELECT name FROM companies WHERE name ILIKE '%drop table%' OR 1 = 1 -- harmless",
            "SELECT CASE WHEN id IN (SELECT company_id FROM financial_records) THEN 1 ELSE 0 END FROM companies UNION ALL VALUES (1)",
        ];
        for statement in cases {
            assert!(
                check(statement, &schema()).is_ok(),
                "{statement}: {:?}",
                check(statement, &schema())
            );
        }
        assert_eq!(
            check(cases[1], &schema()).unwrap().tables(),
            ["companies", "financial_records"]
        );
    }

    #[test]
    fn a_name_after_a_dot_is_a_column_of_that_very_row_or_it_would_be_a_call() {
        for statement in [
            "SELECT ('/etc/passwd'::text).pg_read_file, 1 AS pg_read_file",
            "SELECT x.pg_read_file FROM unnest(ARRAY['/etc/passwd']) x, (SELECT 1 AS pg_read_file) y",
            "SELECT x.pg_read_file FROM unnest(ARRAY['/etc/passwd']) x WHERE EXISTS (SELECT FROM (SELECT 1 AS pg_read_file) x)",
            "SELECT pg_read_file.pg_read_file FROM unnest(ARRAY['/etc/passwd']) pg_read_file(y)",
            "SELECT c.full_name, 1 AS full_name FROM companies c",
            "SELECT (c).full_name, 1 AS full_name FROM companies c",
            "SELECT s.full_name FROM (SELECT * FROM companies) s, (SELECT 1 AS full_name) t",
            "SELECT s.full_name FROM (SELECT id, (SELECT 1 AS full_name) AS n FROM companies) s",
            "SELECT s.full_name FROM (SELECT id AS full_name FROM companies) s(a)",
            "WITH s AS (SELECT * FROM companies) SELECT s.full_name, 1 AS full_name FROM s",
            "SELECT (SELECT c.full_name FROM ((SELECT 1 AS full_name) c CROSS JOIN (SELECT 2) d) AS j) FROM companies c",
            "SELECT 1 FROM companies c, LATERAL (SELECT c.full_name) x(full_name)",
            "SELECT c.id FROM companies c JOIN financial_records f ON c.full_name = 'x' AND f.year = 1 CROSS JOIN (SELECT 1 AS full_name) y",
            "SELECT (SELECT c.revenue FROM companies c) FROM financial_records c",
        ] {
            assert_eq!(
                check(statement, &schema()).map_err(|refusal| refusal.rule),
                Err(Rule::ColumnNotFound),
                "{statement}"
            );
        }
        for statement in [
            "SELECT t.total FROM (SELECT sum(t.id) AS total FROM companies t) t",
            "SELECT s.id, s.n FROM (SELECT *, 1 AS n FROM companies) s",
            "SELECT j.name, j.revenue FROM (companies c JOIN financial_records f ON f.company_id = c.id) AS j",
            "SELECT c.name, u.x, u.n FROM companies c, unnest(ARRAY[1]) WITH ORDINALITY AS u(x, n)",
            "SELECT c.name, f.revenue FROM companies c CROSS JOIN LATERAL (SELECT r.revenue FROM financial_records r WHERE r.company_id = c.id LIMIT 1) f",
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT n.i + 1 FROM n WHERE n.i < 5) SELECT n.i FROM n",
            "WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT n.i + 1 FROM n WHERE n.i < 5) SELECT n.i FROM n",
            "SELECT v.column1, (s.c).name FROM (VALUES (1)) v, (SELECT c FROM companies c) s",
            "SELECT g.count, g.sum, g.case, g.date FROM (SELECT count(*), sum(id), CASE WHEN true THEN 1 END, '2020-01-01'::date FROM companies) g",
            "SELECT e.key, e.value, d.d FROM json_each('{}') e, generate_series(1, 3) d",
            "SELECT public.companies.name, companies.id FROM public.companies",
            "SELECT c.name FROM companies c WHERE EXISTS (SELECT FROM financial_records f WHERE f.company_id = c.id)",
            "SELECT a.id FROM companies a JOIN companies b USING (id) AS m WHERE m.id = 1",
        ] {
            assert!(
                check(statement, &schema()).is_ok(),
                "{statement}: {:?}",
                check(statement, &schema())
            );
        }
    }

    #[test]
    fn what_the_owner_calls_like_something_of_postgres_is_not_called() {
        let schema = schema().beside(vec!["lower".into()], vec!["%".into()]);
        for statement in ["SELECT lower(name) FROM companies", "SELECT 3 % 2"] {
            assert!(check(statement, &schema).is_err(), "{statement}");
        }
        assert!(
            check(
                "SELECT pg_catalog.lower(name), upper(name) FROM companies",
                &schema
            )
            .is_ok()
        );
    }

    #[test]
    fn a_bare_statement_has_no_semicolon_and_keeps_all_else() {
        for (text, bare) in [
            ("SELECT 1 ; ", "SELECT 1 "),
            ("SELECT ';' -- ;", "SELECT ';' -- ;"),
            ("/* ä; */ SELECT 'ä;' ;-- x", "/* ä; */ SELECT 'ä;' "),
        ] {
            assert_eq!(check(text, &schema()).unwrap().bare(), bare);
        }
    }

    #[test]
    fn a_refusal_tells_the_place() {
        let refusal = check("SELECT id,\n  pg_sleep(1) FROM companies", &schema()).unwrap_err();
        assert_eq!((refusal.line, refusal.column), (Some(2), Some(3)));
    }

    #[test]
    fn deep_nesting_is_refused_and_not_fatal() {
        let nested = format!(
            "{}SELECT 1{}",
            "SELECT * FROM (".repeat(300),
            ") x".repeat(300)
        );
        assert_eq!(
            check(&nested, &schema()).map_err(|refusal| refusal.rule),
            Err(Rule::TooDeep)
        );
        assert!(check(&"(".repeat(10_000), &schema()).is_err());
    }

    proptest::proptest! {
        #[test]
        fn no_accepted_statement_contains_a_write(
            parts in proptest::collection::vec(proptest::sample::select(vec![
                "SELECT", "1", "WITH x AS (", ")", "DELETE FROM companies", "INSERT INTO companies VALUES (1)", "UPDATE companies SET id = 1",
                "FROM companies", "RETURNING id", "*", ";", "FROM x", "INTO y", "FOR UPDATE", ",", "DROP TABLE companies", "nextval('s')", "/*", "*/", "--\n",
            ]), 1..10),
        ) {
            let statement = parts.join(" ");
            if check(&statement, &schema()).is_ok() {
                let tree = format!("{:?}", pg_query::parse(&statement, pg_query::ParserOptions::default()).unwrap().protobuf);
                for node in ["DeleteStmt", "InsertStmt", "UpdateStmt", "DropStmt", "IntoClause", "LockingClause", "nextval"] {
                    proptest::prop_assert!(!tree.contains(node), "{}", statement);
                }
            }
        }

        #[test]
        fn any_text_gets_a_decision(text in "\\PC{0,60}") {
            drop(check(&text, &schema()));
        }
    }
}
