//! Characters as keys of a US keyboard, by QEMU's names (`QKeyCode` of its QAPI).

/// The key for a character as QEMU's `sendkey` takes it, with `shift-` where that is needed. All
/// printable characters of ASCII, new line, tabulator, backspace (8 and 127) and escape have one.
pub fn key_of(character: char) -> Option<String> {
    if character.is_ascii_uppercase() {
        return Some(format!("shift-{}", character.to_ascii_lowercase()));
    }
    if character.is_ascii_lowercase() || character.is_ascii_digit() {
        return Some(character.to_string());
    }
    let plain = match character {
        '\n' | '\r' => "ret",
        '\t' => "tab",
        '\u{8}' | '\u{7f}' => "backspace",
        '\u{1b}' => "esc",
        ' ' => "spc",
        '-' => "minus",
        '=' => "equal",
        '[' => "bracket_left",
        ']' => "bracket_right",
        '\\' => "backslash",
        ';' => "semicolon",
        '\'' => "apostrophe",
        '`' => "grave_accent",
        ',' => "comma",
        '.' => "dot",
        '/' => "slash",
        _ => return shifted(character),
    };
    Some(plain.to_owned())
}

fn shifted(character: char) -> Option<String> {
    let below = match character {
        '!' => '1',
        '@' => '2',
        '#' => '3',
        '$' => '4',
        '%' => '5',
        '^' => '6',
        '&' => '7',
        '*' => '8',
        '(' => '9',
        ')' => '0',
        '_' => '-',
        '+' => '=',
        '{' => '[',
        '}' => ']',
        '|' => '\\',
        ':' => ';',
        '"' => '\'',
        '~' => '`',
        '<' => ',',
        '>' => '.',
        '?' => '/',
        _ => return None,
    };
    key_of(below).map(|key| format!("shift-{key}"))
}

/// What was asked for as a key: a single character as [`key_of`] has it, all else, as
/// `ctrl-alt-delete`, as it is. `None` when it cannot be a key's name.
pub fn chord(key: &str) -> Option<String> {
    let mut characters = key.chars();
    if let (Some(only), None) = (characters.next(), characters.next()) {
        return key_of(only);
    }
    let valid = |character: char| character.is_ascii_alphanumeric() || "-_".contains(character);
    (!key.is_empty() && key.chars().all(valid)).then(|| key.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_printable_character_has_a_key_of_its_own() {
        let mut keys: Vec<_> = (' '..='~')
            .map(|character| key_of(character).unwrap())
            .collect();
        assert_eq!(keys.len(), 95);
        keys.sort();
        keys.dedup();
        assert_eq!(keys.len(), 95);
        assert_eq!(key_of('A').unwrap(), "shift-a");
        assert_eq!(key_of('"').unwrap(), "shift-apostrophe");
        assert_eq!(key_of('\n').unwrap(), "ret");
        assert_eq!(key_of('ü'), None);
    }

    #[test]
    fn names_of_keys_are_only_that() {
        assert_eq!(chord("ctrl-alt-delete").unwrap(), "ctrl-alt-delete");
        assert_eq!(chord("shift-0x0C").unwrap(), "shift-0x0C");
        assert_eq!(chord("?").unwrap(), "shift-slash");
        for key in ["", "a\nquit", "a b", "ü"] {
            assert_eq!(chord(key), None, "{key:?}");
        }
    }
}
