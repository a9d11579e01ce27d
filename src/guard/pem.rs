//! PEM text -> blocks, strict about what a half-written file looks like.
//!
//! Lenient readers take a file that was cut between two blocks, or within the first line of a
//! block, for a shorter good one. This one counts: each BEGIN has its END, and no piece of a
//! boundary line stands alone (RFC 7468, with RFC 1421 headers tolerated).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// One complete block.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Block {
    /// What stands after `BEGIN`, such as `CERTIFICATE`.
    pub label: String,
    /// The decoded body.
    pub der: Vec<u8>,
    /// Whether an RFC 1421 header says that the body is encrypted.
    pub encrypted: bool,
}

/// What a text holds, and what is wrong with it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Parsed {
    /// Every complete block in order.
    pub blocks: Vec<Block>,
    /// The first sign that the text is cut off or half-written.
    pub damage: Option<String>,
}

/// Takes every block out of `text`. What stands outside of blocks is ignored, as openssl's
/// `-text` output precedes them.
pub(super) fn parse(text: &[u8]) -> Parsed {
    let mut parsed = Parsed::default();
    let mut open: Option<Open<'_>> = None;
    for (index, line) in text.split(|byte| *byte == b'\n').enumerate() {
        let line = line.trim_ascii();
        let number = index + 1;
        match boundary(line) {
            Boundary::Begin(label) => {
                if let Some(open) = open.take() {
                    parsed.damaged(format!("the {} of line {} has no end", open.label, open.line));
                }
                open = Some(Open { label, line: number, encrypted: false, body: Vec::new() });
            }
            Boundary::End(label) => match open.take() {
                Some(open) if open.label == label => open.close(&mut parsed),
                Some(open) => parsed.damaged(format!(
                    "the {} of line {} ends as {label} in line {number}",
                    open.label, open.line
                )),
                None => parsed.damaged(format!("line {number} ends a {label} that never began")),
            },
            Boundary::Piece => {
                parsed.damaged(format!("line {number} is a piece of a BEGIN or END line"));
            }
            Boundary::None => {
                if let Some(open) = &mut open {
                    open.take(line);
                }
            }
        }
    }
    if let Some(open) = open {
        parsed.damaged(format!("the {} of line {} has no end", open.label, open.line));
    }
    parsed
}

impl Parsed {
    fn damaged(&mut self, what: String) {
        self.damage.get_or_insert(what);
    }
}

/// A block whose end was not met yet.
struct Open<'a> {
    label: &'a str,
    line: usize,
    encrypted: bool,
    body: Vec<u8>,
}

impl Open<'_> {
    fn take(&mut self, line: &[u8]) {
        if line.contains(&b':') {
            self.encrypted |= line.starts_with(b"Proc-Type:") && line.ends_with(b"ENCRYPTED");
        } else {
            self.body.extend_from_slice(line);
        }
    }

    fn close(self, parsed: &mut Parsed) {
        match STANDARD.decode(&self.body) {
            Ok(der) if !der.is_empty() => parsed.blocks.push(Block {
                label: self.label.to_owned(),
                der,
                encrypted: self.encrypted,
            }),
            _ => parsed.damaged(format!("the {} of line {} is no base64", self.label, self.line)),
        }
    }
}

enum Boundary<'a> {
    Begin(&'a str),
    End(&'a str),
    /// What is left of a boundary line that was cut.
    Piece,
    None,
}

fn boundary(line: &[u8]) -> Boundary<'_> {
    if line.first() != Some(&b'-') {
        return Boundary::None;
    }
    let whole = |prefix: &[u8]| {
        let label = line.strip_prefix(prefix)?.strip_suffix(b"-----")?;
        let plain = |b: &u8| b.is_ascii_alphanumeric() || *b == b' ';
        let label = std::str::from_utf8(label).ok()?;
        (!label.is_empty() && label.len() <= 64 && label.as_bytes().iter().all(plain))
            .then_some(label)
    };
    if let Some(label) = whole(b"-----BEGIN ") {
        return Boundary::Begin(label);
    }
    if let Some(label) = whole(b"-----END ") {
        return Boundary::End(label);
    }
    let piece = [b"-----BEGIN ".as_slice(), b"-----END "]
        .iter()
        .any(|prefix| line.starts_with(prefix) || prefix.starts_with(line));
    if piece { Boundary::Piece } else { Boundary::None }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: &str = "Subject: a\r\n-----BEGIN CERTIFICATE-----\r\nAQID\r\nBA==\r\n\
        -----END CERTIFICATE-----\r\n-----BEGIN EC PRIVATE KEY-----\nBQ==\n\
        -----END EC PRIVATE KEY-----\n";

    #[test]
    fn blocks_come_in_order_and_text_around_them_is_ignored() {
        let parsed = parse(TWO.as_bytes());
        assert_eq!(parsed.damage, None);
        let seen: Vec<_> = parsed
            .blocks
            .iter()
            .map(|block| (block.label.as_str(), block.der.as_slice()))
            .collect();
        assert_eq!(
            seen,
            [("CERTIFICATE", [1, 2, 3, 4].as_slice()), ("EC PRIVATE KEY", [5].as_slice())]
        );
    }

    #[test]
    fn a_cut_anywhere_but_between_two_blocks_is_noticed() {
        let begin = TWO.find("-----BEGIN").unwrap();
        let between = TWO.find("-----BEGIN EC").unwrap();
        for cut in 0..TWO.len() {
            let parsed = parse(&TWO.as_bytes()[..cut]);
            // Without its line break the last boundary is still whole.
            let whole =
                cut <= begin || (between - 2..=between).contains(&cut) || cut == TWO.len() - 1;
            assert_eq!(parsed.damage.is_none(), whole, "cut at {cut}: {parsed:?}");
        }
    }

    #[test]
    fn what_is_half_written_is_named() {
        let cases = [
            ("-----END CERTIFICATE-----", "never began"),
            ("-----BEGIN A-----\nAQ==\n-----BEGIN A-----\nAQ==\n-----END A-----", "no end"),
            ("-----BEGIN A-----\nAQ==\n-----END B-----", "ends as B"),
            ("-----BEGIN A-----\n!!!!\n-----END A-----", "no base64"),
            ("-----BEGIN A-----\n-----END A-----", "no base64"),
            ("-----BEGIN A-----\nAQ==\n-----END A----", "piece"),
        ];
        for (text, expected) in cases {
            let damage = parse(text.as_bytes()).damage.unwrap();
            assert!(damage.contains(expected), "{text}: {damage}");
        }
    }

    #[test]
    fn an_old_encrypted_key_is_known_by_its_header() {
        let text = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\
            DEK-Info: AES-128-CBC,00\n\nAQID\n-----END RSA PRIVATE KEY-----\n";
        assert!(parse(text.as_bytes()).blocks[0].encrypted);
    }
}
