//! What happens to a fake by itself.

/// When a fake ends by itself, and with which exit code; and the call that it never answers.
#[derive(Debug, Clone, Default)]
pub(crate) struct Fate {
    pub(crate) ends: Option<(When, i32)>,
    /// As `PUT /actions`.
    pub(crate) hangs_in: Option<&'static str>,
}

/// When it ends by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum When {
    /// Before it makes its API, or looks at it.
    BeforeApi,
    /// When its call of this number has come (the first is 1), before it does what it is told.
    Call(usize),
    /// As it has been called so, before it does what it is told.
    Called(&'static str),
    /// When it has answered its call of this number.
    Answered(usize),
}

impl Fate {
    /// It ends so.
    pub(crate) fn ends(when: When, code: i32) -> Self {
        Self {
            ends: Some((when, code)),
            hangs_in: None,
        }
    }

    /// It never answers this call.
    pub(crate) fn hangs_in(call: &'static str) -> Self {
        Self {
            ends: None,
            hangs_in: Some(call),
        }
    }

    fn code(&self, is_now: impl FnOnce(&When) -> bool) -> Option<i32> {
        let (when, code) = self.ends.as_ref()?;
        is_now(when).then_some(*code)
    }

    pub(crate) fn before_api(&self) -> Option<i32> {
        self.code(|when| *when == When::BeforeApi)
    }

    /// A call has come: the exit code, if it ends instead of doing anything.
    pub(crate) async fn called(&self, what: &str, number: usize) -> Option<i32> {
        if self.hangs_in == Some(what) {
            std::future::pending::<()>().await;
        }
        self.code(|when| match when {
            When::Call(at) => *at == number,
            When::Called(call) => *call == what,
            When::BeforeApi | When::Answered(_) => false,
        })
    }

    /// The exit code, if it ends now that it has answered this call.
    pub(crate) fn answered(&self, number: usize) -> Option<i32> {
        self.code(|when| *when == When::Answered(number))
    }
}
