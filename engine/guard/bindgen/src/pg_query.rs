// The declarations of `pg_query.h` as bindgen would write them; this text becomes the parser's `bindings.rs`.
use std::os::raw::{c_char, c_int, c_uint};
pub const PG_VERSION_NUM: u32 = 180006;
#[repr(C)] #[derive(Debug, Copy, Clone)]
pub struct PgQueryError { pub message: *mut c_char, pub funcname: *mut c_char, pub filename: *mut c_char, pub lineno: c_int, pub cursorpos: c_int, pub context: *mut c_char }
#[repr(C)] #[derive(Debug, Copy, Clone)]
pub struct PgQueryIsUtilityResult { pub length: c_int, pub items: *mut bool, pub error: *mut PgQueryError }
#[repr(C)] #[derive(Debug, Copy, Clone)]
pub struct PgQueryProtobuf { pub len: usize, pub data: *mut c_char }
#[repr(C)] #[derive(Debug, Copy, Clone)]
pub struct PgQueryScanResult { pub pbuf: PgQueryProtobuf, pub stderr_buffer: *mut c_char, pub error: *mut PgQueryError }
pub type PgQueryToken = c_uint;
pub type PgQueryKeywordKind = c_uint;
#[repr(C)] #[derive(Debug, Copy, Clone)]
pub struct PgQueryScanToken { pub start: c_int, pub end: c_int, pub token: PgQueryToken, pub keyword_kind: PgQueryKeywordKind }
#[repr(C)] #[derive(Debug, Copy, Clone)]
pub struct PgQueryScanTokensResult { pub tokens: *mut PgQueryScanToken, pub n_tokens: c_int, pub error: *mut PgQueryError }
#[repr(C)] #[derive(Debug, Copy, Clone)]
pub struct PgQueryParseResult { pub parse_tree: *mut c_char, pub stderr_buffer: *mut c_char, pub error: *mut PgQueryError }
#[repr(C)] #[derive(Debug, Copy, Clone)]
pub struct PgQueryProtobufParseResult { pub parse_tree: PgQueryProtobuf, pub stderr_buffer: *mut c_char, pub error: *mut PgQueryError }
#[repr(C)] #[derive(Debug, Copy, Clone)]
pub struct PgQuerySplitStmt { pub stmt_location: c_int, pub stmt_len: c_int }
#[repr(C)] #[derive(Debug, Copy, Clone)]
pub struct PgQuerySplitResult { pub stmts: *mut *mut PgQuerySplitStmt, pub n_stmts: c_int, pub stderr_buffer: *mut c_char, pub error: *mut PgQueryError }
#[repr(C)] #[derive(Debug, Copy, Clone)]
pub struct PgQueryDeparseResult { pub query: *mut c_char, pub error: *mut PgQueryError }
#[repr(C)] #[derive(Debug, Copy, Clone)]
pub struct PgQueryDeparseCommentsResult { pub comments: *mut *mut PostgresDeparseComment, pub comment_count: usize, pub error: *mut PgQueryError }
#[repr(C)] #[derive(Debug, Copy, Clone)]
pub struct PgQueryPlpgsqlParseResult { pub plpgsql_funcs: *mut c_char, pub error: *mut PgQueryError }
#[repr(C)] #[derive(Debug, Copy, Clone)]
pub struct PgQueryFingerprintResult { pub fingerprint: u64, pub fingerprint_str: *mut c_char, pub stderr_buffer: *mut c_char, pub error: *mut PgQueryError }
#[repr(C)] #[derive(Debug, Copy, Clone)]
pub struct PgQueryNormalizeResult { pub normalized_query: *mut c_char, pub error: *mut PgQueryError }
#[repr(C)] #[derive(Debug, Copy, Clone)]
pub struct PgQuerySummaryParseResult { pub summary: PgQueryProtobuf, pub stderr_buffer: *mut c_char, pub error: *mut PgQueryError }
#[repr(C)] #[derive(Debug, Copy, Clone)]
pub struct PostgresDeparseComment { pub match_location: c_int, pub newlines_before_comment: c_int, pub newlines_after_comment: c_int, pub str_: *mut c_char }
#[repr(C)] #[derive(Debug, Copy, Clone)]
pub struct PostgresDeparseOpts { pub comments: *mut *mut PostgresDeparseComment, pub comment_count: usize, pub pretty_print: bool, pub indent_size: c_int, pub max_line_length: c_int, pub trailing_newline: bool, pub commas_start_of_line: bool }
extern "C" {
    pub fn pg_query_normalize(input: *const c_char) -> PgQueryNormalizeResult;
    pub fn pg_query_scan(input: *const c_char) -> PgQueryScanResult;
    pub fn pg_query_scan_tokens(input: *const c_char) -> PgQueryScanTokensResult;
    pub fn pg_query_token_name(token: PgQueryToken) -> *const c_char;
    pub fn pg_query_keyword_kind_name(kind: PgQueryKeywordKind) -> *const c_char;
    pub fn pg_query_parse(input: *const c_char) -> PgQueryParseResult;
    pub fn pg_query_parse_protobuf_opts(input: *const c_char, parser_options: c_int) -> PgQueryProtobufParseResult;
    pub fn pg_query_parse_plpgsql(input: *const c_char) -> PgQueryPlpgsqlParseResult;
    pub fn pg_query_fingerprint_opts(input: *const c_char, parser_options: c_int, fingerprint_options: c_int) -> PgQueryFingerprintResult;
    pub fn pg_query_split_with_scanner(input: *const c_char) -> PgQuerySplitResult;
    pub fn pg_query_split_with_parser(input: *const c_char) -> PgQuerySplitResult;
    pub fn pg_query_deparse_protobuf_opts(parse_tree: PgQueryProtobuf, opts: PostgresDeparseOpts) -> PgQueryDeparseResult;
    pub fn pg_query_deparse_comments_for_query(query: *const c_char) -> PgQueryDeparseCommentsResult;
    pub fn pg_query_is_utility_stmt(query: *const c_char) -> PgQueryIsUtilityResult;
    pub fn pg_query_summary(input: *const c_char, parser_options: c_int, truncate_limit: c_int) -> PgQuerySummaryParseResult;
    pub fn pg_query_free_normalize_result(result: PgQueryNormalizeResult);
    pub fn pg_query_free_scan_result(result: PgQueryScanResult);
    pub fn pg_query_free_scan_tokens_result(result: PgQueryScanTokensResult);
    pub fn pg_query_free_parse_result(result: PgQueryParseResult);
    pub fn pg_query_free_split_result(result: PgQuerySplitResult);
    pub fn pg_query_free_deparse_result(result: PgQueryDeparseResult);
    pub fn pg_query_free_deparse_comments_result(result: PgQueryDeparseCommentsResult);
    pub fn pg_query_free_protobuf_parse_result(result: PgQueryProtobufParseResult);
    pub fn pg_query_free_plpgsql_parse_result(result: PgQueryPlpgsqlParseResult);
    pub fn pg_query_free_fingerprint_result(result: PgQueryFingerprintResult);
    pub fn pg_query_free_is_utility_result(result: PgQueryIsUtilityResult);
    pub fn pg_query_free_summary_parse_result(result: PgQuerySummaryParseResult);
}
