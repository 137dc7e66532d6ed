//! Rates as both VMMs take them.

use serde::Serialize;

use crate::Rate;

/// What a device may do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct RateLimiter {
    #[serde(skip_serializing_if = "Option::is_none")]
    bandwidth: Option<TokenBucket>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ops: Option<TokenBucket>,
}

/// As many tokens as there are at most, and how long it takes until all are there again, in milliseconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct TokenBucket {
    size: u64,
    refill_time: u64,
}

impl From<Rate> for RateLimiter {
    fn from(rate: Rate) -> Self {
        let bucket = |size| TokenBucket {
            size,
            refill_time: 1000,
        };
        Self {
            bandwidth: rate.bytes_per_second.map(bucket),
            ops: rate.operations_per_second.map(bucket),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_a_bucket_for_each_second() {
        let rate = Rate {
            bytes_per_second: Some(1 << 20),
            operations_per_second: None,
        };
        let limiter = serde_json::to_value(RateLimiter::from(rate)).unwrap();
        let expected = serde_json::json!({ "bandwidth": { "size": 1 << 20, "refill_time": 1000 } });
        assert_eq!(limiter, expected);
    }
}
