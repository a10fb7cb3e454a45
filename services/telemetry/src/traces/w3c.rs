//! W3C Trace Context: `traceparent`, as publishers bring it in a user property of MQTT 5.

/// What a publisher says of the trace that its message is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parent {
    pub trace: u128,
    pub span: u64,
    /// Whether the publisher traces it.
    pub is_sampled: bool,
}

/// The user property that it stands in.
pub const TRACEPARENT: &str = "traceparent";

/// Reads `00-TRACE-SPAN-FLAGS`; `None` for what is not of that form, which is to be treated as if it were not there.
pub fn parse(text: &str) -> Option<Parent> {
    let bytes = text.as_bytes();
    let (version, rest) = (text.get(..2)?, bytes.get(55..)?);
    // Later versions may say more after another dash.
    let is_whole = match version {
        "ff" => false,
        "00" => rest.is_empty(),
        _ => rest.is_empty() || rest[0] == b'-',
    };
    let has_dashes = [2, 35, 52].iter().all(|at| bytes[*at] == b'-');
    let hex = |range: std::ops::Range<usize>| {
        let digits = text.get(range)?;
        let is_lower_hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        digits.bytes().all(is_lower_hex).then_some(digits)
    };
    hex(0..2)?;
    let trace = u128::from_str_radix(hex(3..35)?, 16).ok()?;
    let span = u64::from_str_radix(hex(36..52)?, 16).ok()?;
    let flags = u8::from_str_radix(hex(53..55)?, 16).ok()?;
    let is_valid = is_whole && has_dashes && trace != 0 && span != 0;
    is_valid.then_some(Parent {
        trace,
        span,
        is_sampled: flags & 1 == 1,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    // A context that is misread makes two traces of one, or one of two.
    #[test]
    fn the_example_of_the_specification_is_read() {
        let parent = parse(GOOD).unwrap();
        assert_eq!(parent.trace, 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736);
        assert_eq!(
            (parent.span, parent.is_sampled),
            (0x00f0_67aa_0ba9_02b7, true)
        );
        let unsampled = GOOD.replace("-01", "-00");
        assert!(!parse(&unsampled).unwrap().is_sampled);
        let later = GOOD.replacen("00", "cc", 1) + "-what-comes-later";
        assert_eq!(parse(&later).unwrap().span, parent.span);
    }

    #[test]
    fn what_is_none_is_none() {
        for wrong in [
            "",
            "00",
            &GOOD.to_uppercase(),
            &GOOD[..54],
            &format!("{GOOD}-"),
            &GOOD.replacen("00", "ff", 1),
            &GOOD.replace('-', "_"),
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473é-00f067aa0ba902b7-01",
            "00-+bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
