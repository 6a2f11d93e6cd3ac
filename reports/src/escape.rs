//! Makes a stranger's text harmless where it is shown: in XML and HTML, in Markdown, on a terminal.

/// Text for XML and HTML alike. What XML cannot hold, and all else that is not meant to be seen, is taken out.
pub(crate) fn xml(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            '\n' | '\t' => safe.push(c),
            c if is_unseen(c) => {}
            c => safe.push(c),
        }
    }
    safe
}

/// Text for a cell of a Markdown table or a line of a list: no markup, no line ends.
pub(crate) fn markdown(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\r' | '\t' => safe.push(' '),
            '<' => safe.push_str("&lt;"),
            '&' => safe.push_str("&amp;"),
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '#' | '!' => safe.extend(['\\', c]),
            c if is_unseen(c) => {}
            c => safe.push(c),
        }
    }
    safe
}

/// Text for one line of a terminal or of a Markdown code block: a target's words can neither move the cursor nor
/// begin a line.
pub(crate) fn line(text: &str) -> String {
    let shown = |c: char| match c {
        '\n' => '⏎',
        '\t' => ' ',
        c if is_unseen(c) => '\u{fffd}',
        c => c,
    };
    text.chars().map(shown).collect()
}

/// Control characters, what turns the direction of writing or has no width, tags, and what is no character at all.
fn is_unseen(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
        || matches!(c, '\u{fffe}' | '\u{ffff}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_leaves_its_place() {
        assert_eq!(
            xml("<script>\u{1b}[2J\0'\"&\u{202e}"),
            "&lt;script&gt;[2J&#39;&quot;&amp;"
        );
        assert_eq!(
            markdown("a|b\n# <b>*x*</b>"),
            "a\\|b \\# &lt;b>\\*x\\*&lt;/b>"
        );
        assert_eq!(
            line("a\r\nFAILED \u{1b}[31m"),
            "a\u{fffd}⏎FAILED \u{fffd}[31m"
        );
    }
}
