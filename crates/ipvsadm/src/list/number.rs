//! Counters and rates, in columns of nine.

/// A big number (ipvs.md §10.5): up to eight digits as it is, then in thousands, millions, and so on; with `exact`
/// always as it is, in a wider column if it has to be.
pub(super) fn big(number: u64, exact: bool) -> String {
    const UNITS: [(u64, u64, &str); 4] = [
        (1_000_000_000, 1_000, "K"),
        (100_000_000_000, 1_000_000, "M"),
        (100_000_000_000_000, 1_000_000_000, "G"),
        (u64::MAX, 1_000_000_000_000, "T"),
    ];
    if exact || number < 100_000_000 {
        return format!(" {number:>8}");
    }
    let unit = UNITS.iter().find(|(limit, ..)| number < *limit);
    // Only the largest number there is is below no limit.
    let (_, divisor, letter) = unit.unwrap_or(&UNITS[3]);
    format!("{:>8}{letter}", number / divisor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s145_big_numbers() {
        assert_eq!(big(123_456_789, false), "  123456K");
        assert_eq!(big(123_456_789, true), " 123456789");
    }

    #[test]
    fn units_change_at_their_limits() {
        let cases = [
            (0, "        0"),
            (99_999_999, " 99999999"),
            (100_000_000, "  100000K"),
            (999_999_999, "  999999K"),
            (1_000_000_000, "    1000M"),
            (99_999_999_999, "   99999M"),
            (100_000_000_000, "     100G"),
            (99_999_999_999_999, "   99999G"),
            (100_000_000_000_000, "     100T"),
            (u64::MAX, "18446744T"),
        ];
        for (number, text) in cases {
            assert_eq!(big(number, false), text);
        }
    }

    #[test]
    fn exact_numbers_are_whole() {
        assert_eq!(big(0, true), "        0");
        assert_eq!(big(99_999_999, true), " 99999999");
        assert_eq!(big(u64::MAX, true), " 18446744073709551615");
    }
}
