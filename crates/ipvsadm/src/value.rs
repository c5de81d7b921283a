//! Values of options: numbers, addresses, ports. All of them as the C library that `ipvsadm` calls reads them: leading
//! blanks and a sign before a number are fine, anything after it is not.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use rvs_config::Protocol;

use crate::Names;

/// The characters that C's `isspace` knows.
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c)
}

/// A decimal number within `min..=max`.
pub(crate) fn integer(text: &str, min: u32, max: u32) -> Option<u32> {
    let digits = text.trim_start_matches(|c: char| u8::try_from(c).is_ok_and(is_space));
    // `parse` itself takes a `+`; a minus is fine before a zero.
    let number = match digits.strip_prefix('-') {
        Some(zeros) if !zeros.is_empty() && zeros.bytes().all(|b| b == b'0') => 0,
        _ => digits.parse().ok()?,
    };
    (min..=max).contains(&number).then_some(number)
}

/// An IPv4 address in any form that `inet_aton` reads: one to four numbers, decimal, octal (`0`) or hexadecimal (`0x`),
/// the last of which fills the bytes that are left; blanks may follow.
pub(crate) fn ipv4(text: &str) -> Option<Ipv4Addr> {
    if let Ok(address) = text.parse() {
        return Some(address);
    }
    let end = text.bytes().position(is_space).unwrap_or(text.len());
    let mut numbers = [0; 4];
    let mut count = 0;
    for part in text[..end].split('.') {
        *numbers.get_mut(count)? = c_number(part)?;
        count += 1;
    }
    let (last, heads) = numbers[..count].split_last()?;
    let last_bits = 8 * (5 - u32::try_from(count).ok()?);
    let last_max = u32::MAX >> (32 - last_bits);
    if *last > last_max || heads.iter().any(|head| *head > 255) {
        return None;
    }
    let heads = heads.iter().zip([24, 16, 8]).fold(0, |address, (head, shift)| address | (head << shift));
    Some(Ipv4Addr::from_bits(heads | last))
}

/// A number as C writes it: `10`, `010`, `0x10`.
fn c_number(text: &str) -> Option<u32> {
    let (digits, radix) = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(hexadecimal) => (hexadecimal, 16),
        None if text.len() > 1 && text.starts_with('0') => (text, 8),
        None => (text, 10),
    };
    digits.starts_with(|c: char| c.is_ascii_hexdigit()).then(|| u32::from_str_radix(digits, radix).ok())?
}

/// An IPv4 address, or the name of a host.
pub(crate) fn host(text: &str, names: &dyn Names) -> Option<Ipv4Addr> {
    ipv4(text).or_else(|| names.host(text))
}

/// A port number, or the name of a service. Without a protocol there are no names.
fn port(text: &str, protocol: Option<Protocol>, names: &dyn Names) -> Option<u16> {
    match integer(text, 0, u32::from(u16::MAX)) {
        Some(number) => u16::try_from(number).ok(),
        None => names.port(text, protocol?),
    }
}

/// `HOST`, `HOST:PORT`, `IPV6` or `[IPV6]:PORT` (ipvs.md §10.3).
pub(crate) fn endpoint(
    text: &str,
    protocol: Option<Protocol>,
    names: &dyn Names,
) -> Option<(IpAddr, Option<u16>)> {
    if text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    if let Some(bracketed) = text.strip_prefix('[') {
        let (address, port_text) = bracketed.split_once("]:")?;
        let address: Ipv6Addr = address.parse().ok()?;
        return Some((address.into(), Some(port(port_text, protocol, names)?)));
    }
    if let Ok(address) = text.parse::<Ipv6Addr>() {
        return Some((address.into(), None));
    }
    let Some((host_text, port_text)) = text.split_once(':') else {
        return Some((host(text, names)?.into(), None));
    };
    let port = port(port_text, protocol, names)?;
    Some((host(host_text, names)?.into(), Some(port)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Numeric;

    #[test]
    fn numbers_end_where_they_end() {
        for (text, number) in [("5", 5), ("05", 5), ("+5", 5), (" 5", 5), ("-0", 0), ("4294967295", u32::MAX)]
        {
            assert_eq!(integer(text, 0, u32::MAX), Some(number), "{text:?}");
        }
        for text in
            ["", " ", "-", "+", "5x", "5 ", "0x5", "-5", "+-5", "-+0", "4294967296", "99999999999999999999"]
        {
            assert_eq!(integer(text, 0, u32::MAX), None, "{text:?}");
        }
        assert_eq!(integer("0", 1, 9), None);
        assert_eq!(integer("10", 1, 9), None);
    }

    /// Each pair was given to `ipvsadm` 1.31 and read back from its listing.
    #[test]
    fn addresses_have_many_forms() {
        let forms = [
            ("10.0.0.1", [10, 0, 0, 1]),
            ("10.1", [10, 0, 0, 1]),
            ("010.0.0.1", [8, 0, 0, 1]),
            ("0x0a000001", [10, 0, 0, 1]),
            ("0x7f.1", [127, 0, 0, 1]),
            ("1.2.3.0xff", [1, 2, 3, 255]),
            ("1.2.65535", [1, 2, 255, 255]),
            ("4294967295", [255, 255, 255, 255]),
            ("1.2.3.4 ", [1, 2, 3, 4]),
        ];
        for (text, octets) in forms {
            assert_eq!(ipv4(text), Some(Ipv4Addr::from(octets)), "{text:?}");
        }
        let wrong = [
            "",
            ".",
            "10.0.0.300",
            "1.2.3.4.5",
            "1.2.65536",
            "08.1.1.1",
            "4294967296",
            "5.",
            "5..6",
            " 1.2.3.4",
            "1.2.3.4%x",
            "0x",
            "0x+1.2",
            "+1.2.3.4",
            "1.2.3.-4",
            "256.1",
        ];
        for text in wrong {
            assert_eq!(ipv4(text), None, "{text:?}");
        }
    }

    #[test]
    fn endpoints() {
        let v4 = |port| Some((IpAddr::from([10, 0, 0, 1]), port));
        let v6 = |port| Some((IpAddr::from(Ipv6Addr::LOCALHOST), port));
        let cases = [
            ("10.0.0.1", v4(None)),
            ("10.0.0.1:0", v4(Some(0))),
            ("10.0.0.1:65535", v4(Some(65535))),
            ("10.0.0.1:080", v4(Some(80))),
            ("10.0.0.1:+80", v4(Some(80))),
            ("10.0.0.1: 80", v4(Some(80))),
            ("10.0.0.1 :80", v4(Some(80))),
            ("167772161:80", v4(Some(80))),
            ("::1", v6(None)),
            ("[::1]:80", v6(Some(80))),
        ];
        for (text, expected) in cases {
            assert_eq!(endpoint(text, Some(Protocol::Tcp), &Numeric), expected, "{text:?}");
        }
        let wrong = [
            "",
            "80",
            ":80",
            "10.0.0.1:",
            "10.0.0.1:65536",
            "10.0.0.1:80x",
            "10.0.0.1:-80",
            "10.0.0.1:0x50",
            "10.0.0.1:8080:80",
            "10.0.0.1:80:",
            "10.0.0.1:http",
            "nosuchhost:80",
            "[::1]",
            "[::1:80",
            "[::1]80",
            "[zz]:80",
            "[10.0.0.1]:80",
        ];
        for text in wrong {
            assert_eq!(endpoint(text, Some(Protocol::Tcp), &Numeric), None, "{text:?}");
        }
    }
}
