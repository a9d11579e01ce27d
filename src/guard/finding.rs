//! The catalogue: every finding with its code, severity, sentence and remedy.
//!
//! A [`Kind`] is one row. Everything that the guard has to say is said through a row, so that
//! docs/findings.md can mirror this file and a test can keep the two in step. Whatever a row is
//! told about (names, paths, distinguished names) may come from a hostile file and is escaped
//! here, once.

use std::fmt::{Display, Write as _};

use serde::Serialize;

pub use crate::observe::event::Severity;

/// One fact worth telling.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// A stable code such as `key_mismatch`; docs/findings.md has an entry for each.
    pub code: &'static str,
    /// How much it matters.
    pub severity: Severity,
    /// One sentence that names the thing.
    pub message: String,
    /// One sentence: what to do.
    pub remedy: String,
}

/// What a finding does to the material it is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// It is told and changes nothing.
    Tells,
    /// The material waits; what is served stays (rule 4).
    Holds,
    /// The material is never served (rule 2).
    Refuses,
}

/// One row of the catalogue.
#[derive(Debug)]
pub struct Kind {
    /// The stable code.
    pub code: &'static str,
    /// How much it matters.
    pub severity: Severity,
    /// What it does to the material.
    pub effect: Effect,
    /// What happened; each `{}` is filled by [`Kind::about`].
    pub sentence: &'static str,
    /// What to do.
    pub remedy: &'static str,
}

impl Kind {
    /// A finding of this kind; `things` fill the gaps of the sentence in order.
    pub fn about(&self, things: &[&dyn Display]) -> Finding {
        let mut pieces = self.sentence.split("{}");
        let mut message = pieces.next().unwrap_or_default().to_owned();
        for (thing, piece) in things.iter().zip(pieces) {
            message.push_str(&printable(&thing.to_string()));
            message.push_str(piece);
        }
        Finding {
            code: self.code,
            severity: self.severity,
            message,
            remedy: self.remedy.to_owned(),
        }
    }
}

impl Finding {
    /// What this finding does to the material it is about.
    pub fn effect(&self) -> Effect {
        CATALOGUE
            .iter()
            .find(|kind| kind.code == self.code)
            .map_or(Effect::Tells, |kind| kind.effect)
    }
}

/// Text from outside in a form that can't forge log lines or redraw a terminal: control and
/// direction characters are escaped, and what is longer than 300 characters is cut.
pub(crate) fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len().min(SHOWN_MAX));
    for (index, c) in text.chars().enumerate() {
        if index == SHOWN_MAX {
            shown.push('…');
            break;
        }
        let redraws = matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2066}'..='\u{2069}' | '\u{feff}');
        if c.is_control() || redraws {
            // Writing to a String can't fail.
            let _ = write!(shown, "{}", c.escape_unicode());
        } else {
            shown.push(c);
        }
    }
    shown
}

/// Characters of foreign text that are shown: a long distinguished name, not a novel.
const SHOWN_MAX: usize = 300;

macro_rules! catalogue {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $severity:ident, $effect:ident,
        $sentence:literal, $remedy:literal;)*) => {
        $($(#[$doc])* pub(super) const $name: Kind = Kind {
            code: $code,
            severity: Severity::$severity,
            effect: Effect::$effect,
            sentence: $sentence,
            remedy: $remedy,
        };)*

        /// Every kind there is, in the order of docs/findings.md.
        pub const CATALOGUE: &[Kind] = &[$($name),*];
    };
}

catalogue! {
    // Reading.
    /// The file can't be opened or read.
    UNREADABLE = "unreadable", Critical, Refuses,
        "{} can't be read: {}",
        "Check that the file exists and that the user of evergate may read it.";
    /// A FIFO, a device, a folder.
    NOT_A_FILE = "not_a_file", Critical, Refuses,
        "{} is no regular file",
        "Name a regular file, or a link that leads to one.";
    /// Over the limit of one file.
    TOO_LARGE = "too_large", Critical, Refuses,
        "{} has over {} bytes, which no certificate or key needs",
        "Put the leaf, its issuers and its key into the file, and nothing else.";
    /// More certificates than a chain can have.
    TOO_MANY = "too_many_certificates", Critical, Refuses,
        "{} holds more than {} certificates",
        "Put the leaf and its issuers into the file, not a bundle of roots.";
    /// Nothing in it.
    EMPTY = "empty", Critical, Refuses,
        "{} is empty",
        "Write the file again; a renewal may have been interrupted.";
    /// No PEM block.
    NOT_PEM = "not_pem", Critical, Refuses,
        "{} holds no PEM block",
        "Write PEM: blocks between -----BEGIN …----- and -----END …-----.";
    /// Binary DER where PEM is expected.
    DER = "der", Critical, Refuses,
        "{} is DER, not PEM",
        "Convert it: openssl x509 -inform der -in FILE, or openssl pkey -inform der -in FILE.";
    /// A block without its end, or an end without its block.
    TRUNCATED = "truncated", Critical, Refuses,
        "{} is cut off or half-written: {}",
        "Write the file again, beside the old one, and rename it into place.";
    /// A complete block that holds no certificate.
    MALFORMED = "malformed_certificate", Critical, Refuses,
        "{} holds a certificate that can't be parsed: {}",
        "Ask the issuer for the certificate again.";
    /// Blocks, but no certificate among them.
    NO_CERTIFICATE = "no_certificate", Critical, Refuses,
        "{} holds no certificate",
        "Put the leaf and its issuers into the file; a key alone can't be served.";
    /// No key that belongs to the chain.
    NO_KEY = "no_key", Critical, Refuses,
        "no private key for {} is found in {}",
        "Put the private key beside the chain; it is found by its public key, not by its name.";
    /// A key that needs a passphrase.
    KEY_ENCRYPTED = "key_encrypted", Critical, Refuses,
        "the private key in {} is encrypted with a passphrase",
        "Decrypt it: openssl pkey -in KEY -out NEW, readable by the user of evergate alone.";
    /// A key that the crypto provider does not take.
    KEY_UNUSABLE = "key_unusable", Critical, Refuses,
        "the private key in {} can't be used: {}",
        "Use an ECDSA P-256, P-384 or P-521, an Ed25519, or an RSA key of 2048 to 8192 bits.";
    /// The key is another certificate's.
    KEY_MISMATCH = "key_mismatch", Critical, Refuses,
        "the private key in {} does not belong to the certificate in {}",
        "Deploy chain and key of the same issuance; a renewal may be half done.";

    // The leaf.
    /// The leaf's end is past.
    EXPIRED = "expired", Critical, Refuses,
        "{} expired at {}",
        "Renew it now; see that whatever renews it runs, and that its files arrive here.";
    /// The leaf's beginning is ahead.
    NOT_YET_VALID = "not_yet_valid", Critical, Refuses,
        "{} is not valid before {}",
        "Check this machine's clock and the issuer's; the certificate serves once it is valid.";
    /// The leaf is a certificate authority.
    CA_LEAF = "ca_leaf", Critical, Refuses,
        "{} is a certificate authority, not a server's certificate",
        "Issue a leaf from it (basicConstraints CA:FALSE), and put the leaf first in the file.";
    /// Not meant for servers.
    NO_SERVER_AUTH = "no_server_auth", Critical, Refuses,
        "{} is not meant for servers: its extended key usage lacks serverAuth",
        "Issue it with extendedKeyUsage serverAuth, or without that extension.";
    /// A key that is too short.
    WEAK_KEY = "weak_key", Critical, Refuses,
        "{} has an RSA key of {} bits; clients refuse fewer than 2048",
        "Issue it with an ECDSA P-256 key, or with RSA of at least 2048 bits.";
    /// A signature by a broken hash.
    WEAK_SIGNATURE = "weak_signature", Critical, Refuses,
        "{} is signed with {}, which clients refuse",
        "Have it issued with SHA-256 or better.";
    /// Nothing that a client could ask for.
    NO_NAMES = "no_names", Critical, Refuses,
        "{} has no DNS name and no IP address in its subjectAltName",
        "Issue it with subjectAltName; clients ignore the common name.";
    /// A name that is none.
    NAME_IGNORED = "name_ignored", Info, Tells,
        "{} holds names that no client can ask for, such as {}",
        "Issue it without them.";
    /// The leaf signed itself.
    SELF_SIGNED = "self_signed", Warning, Tells,
        "{} is self-signed: every client must trust this very certificate",
        "Have it issued by an authority that clients trust, or by a private one.";

    // The chain.
    /// A certificate on the only path is expired.
    CHAIN_EXPIRED = "chain_expired", Critical, Refuses,
        "{} expired at {}, and no path to a root is left without it",
        "Send the issuer's current intermediate instead.";
    /// A certificate on the only path is not valid yet.
    CHAIN_NOT_YET_VALID = "chain_not_yet_valid", Critical, Refuses,
        "{} is not valid before {}, and there is no path to a root without it",
        "Check the clock of this machine, and the file that the issuer came from.";
    /// The certificates do not belong together.
    CHAIN_BROKEN = "chain_broken", Critical, Refuses,
        "{} is not signed by any certificate sent with it, though it names {} as its issuer",
        "Put the issuers that belong to this leaf behind it, in one file.";
    /// No issuer is sent.
    ISSUER_NOT_SENT = "issuer_not_sent", Warning, Tells,
        "{} comes without its issuer {}; many clients can't build a path",
        "Deploy the full chain; if the issuer is a root of yours, name it under [guard] roots.";
    /// The end of the path is not known here.
    PRIVATE_ROOT = "private_root", Info, Tells,
        "{} leads to {}, which is no root known here",
        "Clients must trust that root; name its file under [guard] roots to have it judged too.";
    /// The root itself is over.
    ROOT_EXPIRED = "root_expired", Critical, Tells,
        "the root {} of {} expired at {}; some clients refuse it",
        "Move to a certificate of a current root, and roll the new root out to clients.";
    /// Certificates in the wrong order.
    CHAIN_ORDER = "chain_order", Warning, Tells,
        "{} is not in order; it is served leaf first",
        "Write the leaf first, then each issuer behind what it issued.";
    /// The root is sent.
    ROOT_SENT = "root_sent", Info, Tells,
        "{} is a root and is sent along; clients have it already or do not trust it",
        "Leave the root out of the chain: fewer bytes in each handshake.";
    /// An unneeded certificate is expired.
    EXTRA_EXPIRED = "extra_expired", Warning, Tells,
        "{} is sent along and expired at {}; modern clients go round it, old ones fail",
        "Leave it out of the chain.";
    /// An unneeded certificate.
    CHAIN_EXTRA = "chain_extra", Warning, Tells,
        "{} is sent along and is on no path from the leaf",
        "Leave it out of the chain.";

    // The replacement of what is served.
    /// The same leaf with fewer certificates.
    CHAIN_SHORTENED = "chain_shortened", Warning, Holds,
        "{} has the served leaf but {} instead of {} certificates; the file may be cut off",
        "Write the whole chain again.";
    /// The new chain ends too early.
    CHAIN_INCOMPLETE = "chain_incomplete", Warning, Holds,
        "{} lacks its issuer {}, while what is served is complete",
        "Deploy the full chain.";
    /// A name would go dark.
    DROPS_NAME = "drops_name", Warning, Holds,
        "{} no longer holds {}, which is routed and which nothing else holds",
        "Issue it with all names, or change the routes first.";
    /// A purpose would be lost.
    LOSES_EKU = "loses_eku", Warning, Holds,
        "{} no longer has the extended key usage {}",
        "Issue it with the same usages, or see that nothing needs the old one.";
    /// Issued earlier, ends earlier.
    OLDER = "older", Warning, Holds,
        "{} was issued before what is served and ends earlier, at {}",
        "A backup may have been restored; deploy the newest certificate.";

    // Levels.
    /// A renewal should have happened.
    DUE = "due", Info, Tells,
        "{} ends in {}, at {}; its renewal is due",
        "See that whatever renews it is running.";
    /// A fifth of the lifetime is left.
    WARNING = "warning", Warning, Tells,
        "{} ends in {}, at {}; its renewal is overdue",
        "Renew it; whatever renews it does not do its work.";
    /// A tenth is left.
    CRITICAL = "critical", Critical, Tells,
        "{} ends in {}, at {}",
        "Renew it today.";
    /// A twentieth is left.
    EMERGENCY = "emergency", Critical, Tells,
        "{} ends in {}, at {}",
        "Renew it now, by hand if need be; a standby takes over where there is one.";
    /// Nothing is left and it is still served.
    SERVED_EXPIRED = "served_expired", Critical, Tells,
        "{} ended {}, at {}, and is still served: nothing else can answer for {}",
        "Renew it now: clients that check dates can't connect.";

    // Sources, names and what is served.
    /// A folder or file of the configuration can't be used.
    SOURCE_UNREADABLE = "source_unreadable", Critical, Tells,
        "{} can't be read: {}",
        "Check the path in [[cert]] and the permissions on the way to it.";
    /// A folder without any certificate.
    SOURCE_EMPTY = "source_empty", Warning, Tells,
        "{} holds no certificate",
        "Check the path in [[cert]]; files end in .pem, .crt, .cer, .cert, .chain or .bundle.";
    /// A folder with too much in it.
    SOURCE_BOUNDED = "source_bounded", Warning, Tells,
        "{} has more than {} entries or lies deeper than {} folders; the rest is not read",
        "Point [[cert]] at the folder of the certificates alone.";
    /// The files of a served certificate are gone.
    SOURCE_VANISHED = "source_vanished", Warning, Tells,
        "{} is gone; what it held last is still served",
        "Put the file back, or take it out of the configuration.";
    /// Disk and served differ.
    DRIFT = "drift", Warning, Tells,
        "{} differs from what is served since {}: {}",
        "Repair what is on disk; until then the last good certificate is served.";
    /// No events.
    WATCH_FAILED = "watch_failed", Warning, Tells,
        "changes can't be watched, only polled: {}",
        "Raise fs.inotify.max_user_watches and max_user_instances.";
    /// A file of `[guard] roots`, or the system's roots.
    ROOTS_UNREADABLE = "roots_unreadable", Warning, Tells,
        "roots can't be read from {}: {}",
        "Check [guard] roots, and that the package with the system's roots is installed.";
    /// A route without a certificate.
    UNCOVERED = "uncovered", Critical, Tells,
        "{} is routed, but no good certificate holds it: handshakes for it fail",
        "Add a certificate that holds the name, or repair the one that is refused.";
    /// A standby that could not stand in.
    STANDBY_ROTTEN = "standby_rotten", Warning, Tells,
        "the standby {} could not stand in: {}",
        "Renew the standby too; it must be as good as what it stands in for.";
    /// All candidates die together.
    COMMON_END = "common_end", Warning, Tells,
        "all {} certificates for {} end within {} of each other",
        "Let the standby end at another time, best from another issuer.";
    /// Another certificate took over.
    FAILOVER = "failover", Warning, Tells,
        "{} answers for {} instead of {}: {}",
        "Renew the one that stepped behind.";
    /// The primary is back.
    FAILBACK = "failback", Info, Tells,
        "{} answers for {} again instead of {}",
        "";
    /// Clients broke off handshakes.
    CLIENT_ALERTS = "client_alerts", Warning, Tells,
        "{} said {} for {}, certificate {}, in the last 60 s",
        "Look into the logs of these clients: RFC 8446 section 6.2 says what the alert means.";
    /// A certificate went into service.
    PUBLISHED = "published", Info, Tells,
        "{} from {} {} {} until {}",
        "";
    /// Held material went into service by somebody's word.
    ACCEPTED = "accepted", Info, Tells,
        "{} from {} was accepted by hand, although {}",
        "If that was not meant, put the certificate before it back and accept that one.";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_and_in_the_form_of_an_identifier() {
        let mut codes: Vec<_> = CATALOGUE.iter().map(|kind| kind.code).collect();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), CATALOGUE.len());
        for code in codes {
            assert!(code.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{code}");
        }
    }

    #[test]
    fn the_documentation_has_an_entry_for_each_code_and_no_other() {
        let page = include_str!("../../docs/findings.md");
        let told: Vec<&str> =
            page.lines().filter_map(|line| line.strip_prefix("### `")?.strip_suffix('`')).collect();
        let known: Vec<&str> = CATALOGUE.iter().map(|kind| kind.code).collect();
        assert_eq!(told, known, "docs/findings.md lists the codes in the catalogue's order");
        for kind in CATALOGUE {
            let (_, entry) = page.split_once(&format!("### `{}`\n", kind.code)).unwrap();
            let head = entry.lines().find(|line| !line.is_empty()).unwrap();
            let severity = format!("{:?}", kind.severity).to_lowercase();
            assert!(head.starts_with(&format!("*{severity}, ")), "{}: {head}", kind.code);
            let effect = format!("{:?}*", kind.effect).to_lowercase();
            assert!(head.contains(&effect), "{}: {head}", kind.code);
        }
    }

    #[test]
    fn hostile_text_can_neither_forge_a_line_nor_redraw_the_terminal() {
        let finding = UNREADABLE.about(&[&"a\nb\u{1b}[2J\u{202e}", &"x".repeat(400)]);
        assert!(!finding.message.contains(['\n', '\u{1b}', '\u{202e}']));
        assert!(finding.message.chars().count() < 400);
    }

    #[test]
    fn every_sentence_says_what_and_every_problem_has_a_remedy() {
        for kind in CATALOGUE {
            assert!(kind.sentence.contains("{}"), "{}", kind.code);
            let good_news = ["failback", "published"].contains(&kind.code);
            assert_eq!(kind.remedy.is_empty(), good_news, "{}", kind.code);
        }
    }
}
