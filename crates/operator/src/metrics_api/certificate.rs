//! The certificate of the metrics API. It is signed by an authority made for it alone, whose key is thrown away: whoever
//! trusts that authority trusts this certificate and nothing else.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::ByteString;
use k8s_openapi::jiff::tz::TimeZone;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};
use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use x509_parser::extensions::GeneralName;
use x509_parser::parse_x509_certificate;

/// Keys of the Secret; the first two are those of every `kubernetes.io/tls` Secret.
const CHAIN: &str = "tls.crt";
const KEY: &str = "tls.key";
const AUTHORITY: &str = "ca.crt";

const VALID_DAYS: i64 = 365;
/// A new one is made this long before the end.
const RENEW_DAYS: i64 = 30;
const DAY: SignedDuration = SignedDuration::from_hours(24);

/// A certificate with its key, and the authority that signed it, all as PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Serving {
    pub(crate) authority: String,
    chain: String,
    key: Key,
}

/// A private key, which no log ever shows.
#[derive(Clone, PartialEq, Eq)]
struct Key(String);

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(…)")
    }
}

impl Serving {
    /// Makes a new one for these DNS names, the first of which is its subject. It takes along the authority of the `earlier`
    /// one, so that who trusts the new authorities still trusts a server that shows the earlier certificate.
    pub(crate) fn issue(names: &[String], now: Timestamp, earlier: Option<&Self>) -> Result<Self, rcgen::Error> {
        let day = |shift: i64| {
            let date =
                now.checked_add(DAY * i32::try_from(shift).unwrap_or(0)).unwrap_or(now).to_zoned(TimeZone::UTC).date();
            date_time_ymd(i32::from(date.year()), date.month().unsigned_abs(), date.day().unsigned_abs())
        };
        // Clocks of API servers may be a little behind.
        let (from, until) = (day(-1), day(VALID_DAYS));
        let mut authority = CertificateParams::default();
        authority.distinguished_name.push(DnType::CommonName, "quartermaster metrics API");
        authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        authority.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        (authority.not_before, authority.not_after) = (from, until);
        let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate()?)?;

        let mut leaf = CertificateParams::new(names)?;
        leaf.distinguished_name.push(DnType::CommonName, names.first().map_or("", String::as_str));
        leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        leaf.use_authority_key_identifier_extension = true;
        (leaf.not_before, leaf.not_after) = (from, until);
        let key = KeyPair::generate()?;
        let chain = leaf.signed_by(&key, &authority)?.pem();
        let earlier = earlier.and_then(Self::own_authority).unwrap_or_default();
        Ok(Self { authority: authority.pem() + &earlier, chain, key: Key(key.serialize_pem()) })
    }

    /// Reads a Secret's data, if it holds all parts.
    pub(crate) fn read(data: &BTreeMap<String, ByteString>) -> Option<Self> {
        let text = |key: &str| String::from_utf8(data.get(key)?.0.clone()).ok();
        Some(Self { authority: text(AUTHORITY)?, chain: text(CHAIN)?, key: Key(text(KEY)?) })
    }

    /// The data of its Secret.
    pub(crate) fn data(&self) -> BTreeMap<String, ByteString> {
        [(AUTHORITY, &self.authority), (CHAIN, &self.chain), (KEY, &self.key.0)]
            .map(|(key, text)| (key.to_owned(), ByteString(text.clone().into_bytes())))
            .into()
    }

    /// The authority that signed it, as PEM; the first in the list, which ends with that of its predecessor.
    fn own_authority(&self) -> Option<String> {
        const END: &str = "-----END CERTIFICATE-----";
        let end = self.authority.find(END)? + END.len();
        CertificateDer::from_pem_slice(self.authority.as_bytes()).ok()?;
        Some(self.authority[..end].to_owned() + "\n")
    }

    /// Whether it is for `name`, will be valid for a good while yet, and holds together: a certificate by its authority, with
    /// the key that belongs to it.
    pub(crate) fn serves(&self, name: &str, now: Timestamp) -> bool {
        self.lasts(name, now) && self.holds_together(name, now).is_some()
    }

    fn lasts(&self, name: &str, now: Timestamp) -> bool {
        let Ok(der) = CertificateDer::from_pem_slice(self.chain.as_bytes()) else { return false };
        let Ok((_, parsed)) = parse_x509_certificate(&der) else { return false };
        let until = parsed.validity().not_after.timestamp();
        let renew_at = now.as_second().saturating_add(RENEW_DAYS * DAY.as_secs());
        let names = parsed.subject_alternative_name().ok().flatten();
        let named = names.is_some_and(|names| {
            names.value.general_names.iter().any(|it| matches!(it, GeneralName::DNSName(it) if *it == name))
        });
        named && until > renew_at
    }

    fn holds_together(&self, name: &str, now: Timestamp) -> Option<()> {
        let (chain, provider) = (self.chain(), Arc::new(default_provider()));
        CertifiedKey::from_der(chain.clone(), self.key()?, &provider).ok()?;
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.authority.as_bytes()).ok()?).ok()?;
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build().ok()?;
        let now = UnixTime::since_unix_epoch(Duration::from_secs(now.as_second().try_into().ok()?));
        let name = ServerName::try_from(name.to_owned()).ok()?;
        verifier.verify_server_cert(chain.first()?, &[], &name, &[], now).ok().map(|_| ())
    }

    /// The certificates to show.
    pub(crate) fn chain(&self) -> Vec<CertificateDer<'static>> {
        CertificateDer::pem_slice_iter(self.chain.as_bytes()).flatten().collect()
    }

    /// The key, if it can be read.
    pub(crate) fn key(&self) -> Option<PrivateKeyDer<'static>> {
        PrivateKeyDer::from_pem_slice(self.key.0.as_bytes()).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(days: i64) -> Timestamp {
        "2026-11-21T10:00:00Z".parse::<Timestamp>().unwrap() + DAY * i32::try_from(days).unwrap()
    }

    #[test]
    fn is_kept_for_its_names_and_its_time() {
        let names = ["metrics.system.svc".to_owned(), "metrics.system.svc.cluster.local".to_owned()];
        let made = Serving::issue(&names, at(0), None).unwrap();
        let read = Serving::read(&made.data()).unwrap();
        assert_eq!(read, made);
        let table = [
            ("metrics.system.svc", 0, true),
            ("metrics.system.svc.cluster.local", 300, true),
            ("metrics.other.svc", 0, false),
            ("metrics.system.svc", 334, true),
            ("metrics.system.svc", 336, false),
            ("metrics.system.svc", 400, false),
        ];
        for (name, day, want) in table {
            assert_eq!(read.serves(name, at(day)), want, "{name} on day {day}");
        }
    }

    #[test]
    fn broken_secrets_are_replaced() {
        let made = Serving::issue(&["a.b.svc".to_owned()], at(0), None).unwrap();
        for part in [AUTHORITY, CHAIN, KEY] {
            let mut data = made.data();
            data.remove(part);
            assert_eq!(Serving::read(&data), None, "without {part}");
        }
        for part in [CHAIN, KEY] {
            let mut data = made.data();
            data.insert(part.to_owned(), ByteString(b"nonsense".to_vec()));
            assert!(!Serving::read(&data).unwrap().serves("a.b.svc", at(0)), "with a broken {part}");
        }
    }

    #[test]
    fn parts_that_do_not_belong_together_are_replaced() {
        let issue = || Serving::issue(&["a.b.svc".to_owned()], at(0), None).unwrap();
        let (made, other) = (issue(), issue());
        for part in [AUTHORITY, CHAIN, KEY] {
            let mut data = made.data();
            data.insert(part.to_owned(), other.data()[part].clone());
            assert!(!Serving::read(&data).unwrap().serves("a.b.svc", at(0)), "with the {part} of another");
        }
    }

    #[test]
    fn a_new_one_takes_along_the_authority_before_it_and_no_more() {
        let issue = |earlier: Option<&Serving>| Serving::issue(&["a.b.svc".to_owned()], at(0), earlier).unwrap();
        let first = issue(None);
        let second = issue(Some(&first));
        let third = issue(Some(&second));
        let authorities = |serving: &Serving| CertificateDer::pem_slice_iter(serving.authority.as_bytes()).count();
        assert_eq!([&first, &second, &third].map(authorities), [1, 2, 2]);
        assert!(second.authority.ends_with(&first.authority), "the earlier one is trusted on");
        assert!(!third.authority.contains(&first.authority), "but not for ever");
        assert!(third.serves("a.b.svc", at(0)));
        let broken = Serving { authority: "nonsense".to_owned(), ..first };
        assert_eq!(authorities(&issue(Some(&broken))), 1);
    }

    #[test]
    fn its_key_is_not_shown() {
        let made = Serving::issue(&["a.b.svc".to_owned()], at(0), None).unwrap();
        let shown = format!("{made:?}");
        assert!(!shown.contains("PRIVATE KEY") && shown.contains("Key(…)"), "{shown}");
    }
}
