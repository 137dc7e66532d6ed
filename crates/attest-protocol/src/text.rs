//! Text for messages.

/// Bytes of a command that a message shows: two lines of a terminal.
const LONGEST: usize = 200;

/// A command as one short line for messages and events, cut at 200 bytes.
pub fn one_line(text: &str) -> String {
    let mut line: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.len() > LONGEST {
        line.truncate(line.floor_char_boundary(LONGEST));
        line.push('…');
    }
    line
}

/// An error and all its causes, joined by `: `.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_one_short_line() {
        assert_eq!(one_line("  a \n\tb "), "a b");
        let long = one_line(&"é".repeat(150));
        assert_eq!(long, format!("{}…", "é".repeat(100)));
    }
}
