//! What a statement may be made of: kinds of nodes, functions, operators, types. All else is refused.

pub(super) const NODES: &[&str] = &[
    "String", "Integer", "Float", "Boolean", "BitString", "AConst", "ColumnRef", "ParamRef", "ResTarget", "SelectStmt", "RangeVar", "AExpr",
    "FuncCall", "SortBy", "TypeCast", "TypeName", "BoolExpr", "JoinExpr", "List", "CommonTableExpr", "SubLink", "AStar", "RangeSubselect",
    "RowExpr", "AArrayExpr", "RangeFunction", "NullTest", "GroupingSet", "AIndices", "AIndirection", "CaseExpr", "CaseWhen", "CoalesceExpr",
    "MinMaxExpr", "SqlvalueFunction", "CollateClause", "BooleanTest", "RangeTableSample", "GroupingFunc", "WindowDef", "NamedArgExpr",
    "ColumnDef",
];

pub(super) const FUNCTIONS: &[&str] = &[
    "abs", "age", "any_value", "array_agg", "array_append", "array_cat", "array_length", "array_lower", "array_ndims", "array_position",
    "array_positions", "array_prepend", "array_remove", "array_replace", "array_to_string", "array_upper", "ascii", "avg", "bit_and",
    "bit_length", "bit_or", "bool_and", "bool_or", "btrim", "cardinality", "ceil", "ceiling", "char_length", "character_length", "chr",
    "concat", "concat_ws", "corr", "count", "covar_pop", "covar_samp", "cume_dist", "date_bin", "date_part", "date_trunc", "decode", "degrees",
    "dense_rank", "div", "encode", "every", "exp", "extract", "first_value", "floor", "format", "gcd", "generate_series", "generate_subscripts",
    "greatest", "initcap", "isfinite", "json_agg", "json_array_elements", "json_array_elements_text", "json_array_length",
    "json_build_array", "json_build_object", "json_each", "json_each_text", "json_extract_path", "json_extract_path_text", "json_object_agg",
    "json_object_keys", "json_typeof", "jsonb_agg", "jsonb_array_elements", "jsonb_array_elements_text", "jsonb_array_length",
    "jsonb_build_array", "jsonb_build_object", "jsonb_each", "jsonb_each_text", "jsonb_extract_path", "jsonb_extract_path_text",
    "jsonb_object_agg", "jsonb_object_keys", "jsonb_path_exists", "jsonb_path_query", "jsonb_path_query_array", "jsonb_path_query_first",
    "jsonb_pretty", "jsonb_strip_nulls", "jsonb_typeof", "justify_days", "justify_hours", "justify_interval", "lag", "last_value", "lcm",
    "lead", "least", "left", "length", "like_escape", "ln", "log", "log10", "lower", "lpad", "ltrim", "make_date", "make_interval",
    "make_time", "make_timestamp", "make_timestamptz", "max", "md5", "min", "mod", "mode", "normalize", "now", "nth_value", "ntile",
    "num_nonnulls", "num_nulls", "octet_length", "overlaps", "overlay", "percent_rank", "percentile_cont", "percentile_disc", "pi", "position",
    "power", "radians", "rank", "regexp_count", "regexp_instr", "regexp_like", "regexp_match", "regexp_matches", "regexp_replace",
    "regexp_split_to_array", "regexp_split_to_table", "regexp_substr", "regr_count", "regr_intercept", "regr_r2", "regr_slope", "repeat",
    "replace", "reverse", "right", "round", "row_number", "row_to_json", "rpad", "rtrim", "scale", "sign", "similar_to_escape", "split_part",
    "sqrt", "starts_with", "statement_timestamp", "stddev", "stddev_pop", "stddev_samp", "string_agg", "string_to_array", "string_to_table",
    "strpos", "substr", "substring", "sum", "timezone", "to_char", "to_date", "to_json", "to_jsonb", "to_number", "to_timestamp",
    "transaction_timestamp", "translate", "trim", "trim_array", "trim_scale", "trunc", "unnest", "upper", "var_pop", "var_samp", "variance",
    "width_bucket",
];

pub(super) const OPERATORS: &[&str] = &[
    "=", "<>", "!=", "<", ">", "<=", ">=", "+", "-", "*", "/", "%", "^", "||", "|", "&", "#", "<<", ">>", "~", "~~", "!~~", "~~*", "!~~*",
    "!~", "~*", "!~*", "->", "->>", "#>", "#>>", "@>", "<@", "?", "?|", "?&", "@?", "@@", "&&", "|/", "||/", "@", "#-", "^@", "-|-", "&<", "&>",
];

pub(super) const TYPES: &[&str] = &[
    "bool", "boolean", "int2", "int4", "int8", "smallint", "integer", "int", "bigint", "float4", "float8", "real", "numeric", "decimal", "text",
    "varchar", "bpchar", "char", "date", "time", "timetz", "timestamp", "timestamptz", "interval", "json", "jsonb", "jsonpath", "uuid", "bytea",
    "bit", "varbit",
];

pub(super) const SYSTEM_COLUMNS: &[&str] = &["ctid", "xmin", "xmax", "cmin", "cmax", "tableoid"];
