//! The properties of a unit or of a manager.

use std::fmt;

use indexmap::IndexMap;

use crate::error::Error;
use crate::near::near;
use crate::show;
use crate::value::Value;

/// All properties of a unit, of all its interfaces, in systemd's order.
///
/// [`Display`](fmt::Display) prints them as `systemctl show --all` does, with times in UTC.
#[derive(Debug, Clone, PartialEq)]
pub struct Properties {
    unit: String,
    values: IndexMap<String, Value>,
}

impl Properties {
    pub(crate) fn new(unit: &str, pairs: Vec<(Value, Value)>) -> Option<Self> {
        let named = |(name, value)| match name {
            Value::Text(name) => Some((name, Value::unwrapped(value))),
            _ => None,
        };
        let values: Option<IndexMap<_, _>> = pairs.into_iter().map(named).collect();
        Some(Self {
            unit: unit.to_owned(),
            values: values?,
        })
    }

    /// The value of a property, if the unit has it.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.values.get(name)
    }

    /// The value of a property.
    ///
    /// Error: [`Error::NoProperty`] with the names that look like it.
    pub fn value(&self, name: &str) -> Result<&Value, Error> {
        self.get(name).ok_or_else(|| Error::NoProperty {
            unit: self.unit.clone(),
            property: name.to_owned(),
            near: near(name, self.values.keys().map(String::as_str)),
        })
    }

    /// A property as `systemctl show --property=NAME --value` prints it: times in UTC, limits
    /// that are not set as `infinity` or `[not set]`, modes in octal. A list of commands,
    /// listeners or timers has a line for each.
    ///
    /// Error: [`Error::NoProperty`].
    pub fn text(&self, name: &str) -> Result<String, Error> {
        Ok(show::lines(name, self.value(name)?).join("\n"))
    }

    /// Names and values, in systemd's order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.values
            .iter()
            .map(|(name, value)| (name.as_str(), value))
    }

    pub(crate) fn str(&self, name: &str) -> &str {
        self.get(name).and_then(Value::as_str).unwrap_or_default()
    }

    pub(crate) fn u64(&self, name: &str) -> u64 {
        self.get(name).and_then(Value::as_u64).unwrap_or_default()
    }

    pub(crate) fn texts(&self, name: &str) -> Vec<String> {
        let texts = self.get(name).and_then(Value::texts).unwrap_or_default();
        texts.into_iter().map(str::to_owned).collect()
    }
}

impl fmt::Display for Properties {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, value) in &self.values {
            for line in show::lines(name, value) {
                writeln!(f, "{name}={line}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn properties() -> Properties {
        let pairs = vec![
            ("ExecMainStatus".into(), Value::I32(3)),
            (
                "After".into(),
                Value::Array(vec!["a.target".into(), "b.target".into()]),
            ),
            ("NeedDaemonReload".into(), Value::Bool(false)),
        ];
        Properties::new("x.service", pairs).unwrap()
    }

    #[test]
    fn they_print_as_systemctl_shows_them() {
        let text = "ExecMainStatus=3\nAfter=a.target b.target\nNeedDaemonReload=no\n";
        assert_eq!(properties().to_string(), text);
        assert_eq!(properties().text("ExecMainStatus").unwrap(), "3");
    }

    #[test]
    fn a_missing_one_names_what_looks_like_it() {
        let error = properties().value("ExecMainstatus").unwrap_err();
        assert_eq!(
            error.to_string(),
            "x.service has no property `ExecMainstatus`; near it: ExecMainStatus"
        );
    }
}
