//! Names as tools print them, against names as certificates have them.

use proptest::prelude::*;

use super::*;

fn is(a: &str, b: &str) -> bool {
    let (a, b) = (
        DistinguishedName::parse(a).unwrap(),
        DistinguishedName::parse(b).unwrap(),
    );
    assert_eq!(a.is(&b), b.is(&a), "both ways alike");
    a.is(&b)
}

/// A rule that matches nobody, because another tool printed the name.
#[test]
fn tools_print_the_same_name_in_many_ways() {
    let name = "CN = Plant 1, O = Contoso\\, Ltd, C = US";
    for same in [
        "CN=Plant 1,O=Contoso\\, Ltd,C=US",
        "C=US,O=Contoso\\, Ltd,CN=Plant 1",
        "C=US, O=\"Contoso, Ltd\", CN=Plant 1",
        "O=Contoso\\2C Ltd , C=us, commonName =plant  1 ",
        "2.5.4.6=US, OID.2.5.4.10=Contoso\\, Ltd, CN=Plant\\ 1",
        // Printable string US, and UTF-8 string Plant 1.
        "C=#13025553,O=Contoso\\, Ltd,CN=#0C07506C616E742031",
    ] {
        assert!(is(name, same), "{same}");
    }
    for other in [
        "CN = Plant 1, O = Contoso\\, Ltd",
        "CN = Plant 1, O = Contoso\\, Ltd, C = DE",
        "CN = Plant1, O = Contoso\\, Ltd, C = US",
        "CN = Plant 1, OU = Contoso\\, Ltd, C = US",
        "CN = Plant 1 + O = Contoso\\, Ltd, C = US",
        "CN = Plant 1, O = Contoso\\, Ltd, C = US, C = US",
    ] {
        assert!(!is(name, other), "{other}");
    }
    assert!(is("CN = a + UID = b, O = c", "O=c,UID=b+CN=a"));
}

/// `DC=example,DC=com` and `DC=com,DC=example` are the same, printed from either end; with the common name at the same end they
/// are two.
#[test]
fn parts_of_one_type_keep_their_order() {
    assert!(is("CN=a,DC=example,DC=com", "DC=com,DC=example,CN=a"));
    assert!(is("OU=x,OU=y,CN=a,O=z", "OU=x,CN=a,OU=y,O=z"));
    assert!(!is(
        "OU=1,DC=example,DC=com,OU=2",
        "OU=1,DC=com,DC=example,OU=2"
    ));
}

/// A name that was mistyped, and that matches something else than what was meant.
#[test]
fn what_is_no_name_is_said() {
    for text in [
        "",
        "Plant",
        "CN",
        "=Plant",
        "CN=a,",
        "CN=a,,O=b",
        "CN=a+b",
        "CN=a, b",
    ] {
        assert_eq!(
            DistinguishedName::parse(text).unwrap_err(),
            Invalid::Form,
            "{text:?}"
        );
    }
    for text in ["XX=a", "CN=a,1=b", "2.5.=a"] {
        assert!(
            matches!(
                DistinguishedName::parse(text).unwrap_err(),
                Invalid::Type(_)
            ),
            "{text:?}"
        );
    }
    for text in ["CN=a\\", "CN=\"a", "CN=#0", "CN=#zz", "CN=\\ff", "CN=#0c02"] {
        assert!(
            matches!(
                DistinguishedName::parse(text).unwrap_err(),
                Invalid::Value(_)
            ),
            "{text:?}"
        );
    }
}

/// The name's content as a certificate has it.
fn der(parts: &[Vec<(u8, String)>]) -> Vec<u8> {
    fn wrapped(tag: u8, content: &[u8]) -> Vec<u8> {
        let length = u8::try_from(content.len()).unwrap();
        let header = if length < 128 {
            vec![tag, length]
        } else {
            vec![tag, 0x81, length]
        };
        [header, content.to_vec()].concat()
    }
    let mut name = Vec::new();
    for part in parts {
        let mut pairs = Vec::new();
        for (kind, value) in part {
            let pair = [
                vec![0x06, 3, 0x55, 4, *kind],
                wrapped(0x0c, value.as_bytes()),
            ]
            .concat();
            pairs.extend(wrapped(0x30, &pair));
        }
        name.extend(wrapped(0x31, &pairs));
    }
    name
}

fn escaped(value: &str) -> String {
    let escape = |char: char| {
        let special = matches!(char, ',' | '+' | '"' | '\\' | '<' | '>' | ';' | '=' | '#');
        if special {
            format!("\\{char}")
        } else {
            char.to_string()
        }
    };
    value.chars().map(escape).collect()
}

/// A type of 2.5.4 that has one name here.
fn kinds() -> impl Strategy<Value = Vec<u8>> {
    Just(vec![3, 4, 5, 6, 7, 8, 9, 10, 11]).prop_shuffle()
}

/// Printed, with spaces as they fall.
fn printed(parts: &[Vec<(u8, String)>], spaces: &[u8]) -> String {
    let mut spaces = spaces.iter().cycle();
    let mut space = || " ".repeat(usize::from(*spaces.next().unwrap()));
    let mut print_part = |part: &Vec<(u8, String)>| {
        let pairs = part.iter().map(|(kind, value)| {
            format!(
                "{}2.5.4.{kind}{}={}{}{}",
                space(),
                space(),
                space(),
                escaped(value),
                space()
            )
        });
        pairs.collect::<Vec<_>>().join("+")
    };
    let parts: Vec<_> = parts.iter().map(&mut print_part).collect();
    parts.join(",")
}

proptest! {
    /// A name that its own certificate does not match, for its letters, spaces or order.
    #[test]
    fn a_name_is_itself_in_any_order_and_spacing(
        kinds in kinds(),
        values in prop::collection::vec("[a-zA-Z0-9,+\"\\\\<>;=#äß -]{0,12}", 1..6),
        pairs in 1..3_usize,
        order in any::<prop::sample::Index>(),
        reverse in any::<bool>(),
        spaces in prop::collection::vec(0..3_u8, 1..8),
    ) {
        let typed: Vec<_> = kinds.into_iter().zip(values).collect();
        let parts: Vec<Vec<_>> = typed.chunks(pairs).map(<[_]>::to_vec).collect();
        let name = DistinguishedName::from_der(&der(&parts)).unwrap();
        let mut shuffled = parts.clone();
        shuffled.rotate_left(order.index(parts.len()));
        if reverse {
            shuffled.reverse();
        }
        let text = printed(&shuffled, &spaces);
        let written = DistinguishedName::parse(&text).unwrap();
        prop_assert!(name.is(&written), "{text:?}");

        // And it is not what differs in one value or lacks one part.
        let mut other = shuffled.clone();
        other[0][0].1.push('!');
        let other = DistinguishedName::parse(&printed(&other, &spaces)).unwrap();
        prop_assert!(!name.is(&other));
        if shuffled.len() > 1 {
            shuffled.pop();
            let other = DistinguishedName::parse(&printed(&shuffled, &spaces)).unwrap();
            prop_assert!(!name.is(&other));
        }
    }

    /// A name from a certificate, or from a manifest, that makes the broker panic.
    #[test]
    fn no_text_and_no_bytes_panic(text in ".{0,40}", bytes in prop::collection::vec(any::<u8>(), 0..60)) {
        let _ = DistinguishedName::parse(&text);
        let _ = DistinguishedName::from_der(&bytes);
    }
}
