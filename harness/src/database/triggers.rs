//! The change feed's triggers, as the scenarios' data has them and as operators are given them.

/// Tells that a table has changed.
const FUNCTION: &str = "CREATE OR REPLACE FUNCTION fact_table_changed() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_notify('fact_table_changed', TG_TABLE_SCHEMA || '.' || TG_TABLE_NAME); RETURN NULL; END $$;";

/// `CREATE OR REPLACE TRIGGER` is there from Postgres 14 on.
const TRIGGER: &str = "AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON";
const EXECUTE: &str = "FOR EACH STATEMENT EXECUTE FUNCTION fact_table_changed()";

/// SQL that makes these tables tell of their changes; all tables outside of the system's schemas when none are named.
/// May be run again. Why a name is none.
pub fn triggers(tables: &[String]) -> Result<String, String> {
    let mut lines = vec![
        "-- Every statement that changes one of these tables says so on the channel `fact_table_changed`.".to_owned(),
        "-- For Postgres 14 and later; to be run by the tables' owner, again after a table was added.".to_owned(),
        "BEGIN;".to_owned(),
        FUNCTION.to_owned(),
    ];
    if tables.is_empty() {
        lines.push(format!(
            "DO $$ DECLARE t regclass; BEGIN
  FOR t IN SELECT c.oid FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p') AND c.relpersistence <> 't' AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'
    AND n.nspname <> 'fact'
  LOOP EXECUTE format('CREATE OR REPLACE TRIGGER fact_table_changed {TRIGGER} %s {EXECUTE}', t); END LOOP;
END $$;"
        ));
    }
    for table in tables {
        let name = quoted(table)?;
        lines.push(format!(
            "CREATE OR REPLACE TRIGGER fact_table_changed {TRIGGER} {name} {EXECUTE};"
        ));
    }
    lines.push("COMMIT;".to_owned());
    Ok(lines.join("\n"))
}

/// `schema.table`, each part in quotes unless it needs none.
fn quoted(table: &str) -> Result<String, String> {
    let parts: Vec<&str> = table.trim().split('.').collect();
    if parts.len() > 2
        || parts
            .iter()
            .any(|part| part.is_empty() || part.contains('\0'))
    {
        return Err(format!(
            "`{table}` is no table; write `schema.table` or `table`"
        ));
    }
    let plain = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
            && part
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
    };
    let quote = |part: &&str| {
        if plain(part) {
            (*part).to_owned()
        } else {
            format!("\"{}\"", part.replace('"', "\"\""))
        }
    };
    Ok(parts.iter().map(quote).collect::<Vec<_>>().join("."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scenarios_data_has_the_same_triggers() {
        let data = crate::database::Data::shipped().postgres_sql;
        for part in [
            FUNCTION.replace("CREATE OR REPLACE", "CREATE"),
            format!("{TRIGGER} %I {EXECUTE}"),
        ] {
            assert!(data.contains(&part), "{part}");
        }
    }

    #[test]
    fn names_are_quoted_where_they_must_be() {
        let of = |table: &str| triggers(&[table.to_owned()]);
        assert!(of("sales.orders").unwrap().contains(" ON sales.orders FOR"));
        assert!(
            of("Sales.2025")
                .unwrap()
                .contains(r#" ON "Sales"."2025" FOR"#)
        );
        assert!(
            of("a\"; DROP TABLE b; --")
                .unwrap()
                .contains(r#" ON "a""; DROP TABLE b; --" FOR"#)
        );
        for wrong in ["", "a.b.c", "a..b", ".a"] {
            of(wrong).unwrap_err();
        }
    }
}
