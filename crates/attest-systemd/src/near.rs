//! Names that look like a mistaken one.

/// How many are worth reading.
const MOST: usize = 3;
/// Jaro-Winkler: below it, words have little in common.
const ALIKE: f64 = 0.85;

/// The names that look most like `word`, the most alike first.
pub(crate) fn near<'a>(word: &str, names: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut alike: Vec<(f64, &str)> = names
        .map(|name| (likeness(word, name), name))
        .filter(|(likeness, _)| *likeness >= ALIKE)
        .collect();
    alike.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(b.1)));
    alike.dedup_by_key(|(_, name)| *name);
    alike.truncate(MOST);
    alike.into_iter().map(|(_, name)| name.to_owned()).collect()
}

fn likeness(word: &str, name: &str) -> f64 {
    // Units are compared without their types, which nobody mistypes.
    let stem = |name: &str| match name.rsplit_once('.') {
        Some((stem, _)) if !stem.is_empty() => stem.to_lowercase(),
        _ => name.to_lowercase(),
    };
    let (word, name) = (stem(word), stem(name));
    // `sshd` for `ssh`, `postgresql` for `postgresql@15-main`.
    let part = word.len() >= 3 && name.len() >= 3 && (name.contains(&word) || word.contains(&name));
    let likeness = strsim::jaro_winkler(&word, &name);
    if part { likeness.max(ALIKE) } else { likeness }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_like_it_comes_first() {
        let units = [
            "dbus.service",
            "nginx.service",
            "systemd-journald.service",
            "nfs.service",
        ];
        let find = |word| near(word, units.into_iter());
        assert_eq!(find("ngnix.service"), ["nginx.service"]);
        assert_eq!(find("journald.service"), ["systemd-journald.service"]);
        assert!(find("zzz.service").is_empty());
    }

    #[test]
    fn there_are_few_and_each_once() {
        let many = ["aaaa1", "aaaa2", "aaaa2", "aaaa3", "aaaa4"];
        assert_eq!(near("aaaa", many.into_iter()), ["aaaa1", "aaaa2", "aaaa3"]);
    }
}
