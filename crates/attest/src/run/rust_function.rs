//! Functions of this program that are set-ups or tests: what they return, and how they fail.

use std::any::Any;
use std::error::Error as StdError;
use std::panic::AssertUnwindSafe;

use attest_vmm::BoxFuture;
use futures_util::FutureExt;
use serde_json::Value;

use super::program;
use crate::error::{Error, Result};
use crate::lab::Lab;
use crate::snapshot::SetupKey;

/// Any error of a test's or a set-up's own.
pub type AnyError = Box<dyn StdError + Send + Sync>;

/// A set-up: from what the one before it returned to what it returns itself.
pub type SetupFunction = fn(Lab, Value) -> BoxFuture<'static, Result<Value, AnyError>>;

/// A set-up that is a function of this program.
#[derive(Debug, Clone, Copy)]
pub struct RustSetup(pub(crate) SetupFunction);

impl PartialEq for RustSetup {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::fn_addr_eq(self.0, other.0)
    }
}

impl Eq for RustSetup {}

impl RustSetup {
    pub(super) async fn run(self, lab: Lab, value: Value) -> Result<Value> {
        guarded((self.0)(lab, value)).await
    }

    /// Nothing less than the whole program tells what a function of it does.
    pub(super) fn key(name: &str) -> SetupKey {
        SetupKey {
            name: name.to_owned(),
            code: program::digest().to_owned(),
        }
    }
}

/// Wait for it; a panic of it is an error like any other.
pub(crate) async fn guarded<T>(work: impl Future<Output = Result<T, AnyError>>) -> Result<T> {
    match AssertUnwindSafe(work).catch_unwind().await {
        Ok(outcome) => outcome.map_err(of_any),
        Err(panic) => Err(Error::Assertion(words_of(&*panic))),
    }
}

fn of_any(error: AnyError) -> Error {
    match error.downcast::<Error>() {
        Ok(error) => *error,
        Err(other) => Error::Assertion(crate::chain(&*other)),
    }
}

fn words_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("it panicked").to_owned()
}

#[cfg(test)]
mod tests {
    use attest_events::Verdict;

    use super::*;

    async fn error_of(work: impl Future<Output = Result<(), AnyError>>) -> Error {
        guarded(work).await.expect_err("it fails")
    }

    #[tokio::test]
    async fn errors_keep_what_they_mean() {
        let own = error_of(async { Err(Error::Interrupted.into()) }).await;
        assert_eq!(own.verdict(), Verdict::Interrupted);
        let other = error_of(async { Err("no rows".into()) }).await;
        assert_eq!(
            (other.verdict(), other.chain()),
            (Verdict::Failed, "no rows".into())
        );
    }

    #[tokio::test]
    async fn a_panic_is_a_failure_with_its_words() {
        let fixed = error_of(async { panic!("never") }).await;
        assert_eq!(
            (fixed.verdict(), fixed.chain()),
            (Verdict::Failed, "never".into())
        );
        let made = error_of(async { panic!("{} is odd", 3) }).await;
        assert_eq!(made.chain(), "3 is odd");
        let other = error_of(async { std::panic::panic_any(7) }).await;
        assert_eq!(other.chain(), "it panicked");
    }

    #[test]
    fn the_key_of_a_set_up_is_of_its_program() {
        let key = RustSetup::key("m::one");
        let exe = std::fs::read("/proc/self/exe").unwrap();
        assert_eq!(key.code, blake3::hash(&exe).to_hex()[..32]);
        assert_eq!(key.name, "m::one");
        let function: SetupFunction = |_, value| Box::pin(async { Ok(value) });
        let other: SetupFunction = |_, _| Box::pin(async { Ok(Value::Null) });
        assert_eq!(RustSetup(function), RustSetup(function));
        assert_ne!(RustSetup(function), RustSetup(other));
    }
}
