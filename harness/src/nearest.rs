//! The known word that a misspelt one was probably meant to be.

/// Less alike than this, a word was meant to be another.
const NEAR: f64 = 0.7;

/// The nearest of the known words; none where no word is near.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let likeness = |known: &str| strsim::jaro_winkler(word, known);
    known
        .into_iter()
        .map(|known| (known, likeness(known)))
        .filter(|(_, likeness)| *likeness >= NEAR)
        .max_by(|(_, one), (_, other)| one.total_cmp(other))
        .map(|(known, _)| known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_near_and_another_word_is_not() {
        assert_eq!(nearest("cahce", ["load", "cache"]), Some("cache"));
        assert_eq!(nearest("cahce", ["load"]), None);
        assert_eq!(nearest("x", []), None);
    }
}
