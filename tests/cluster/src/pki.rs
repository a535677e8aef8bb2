//! The cluster's certificates: one authority, ECDSA P-256.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use parking_lot::Mutex;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};

use crate::cache::Key;
use crate::setup::NODE_IP;

/// First address of the Service range: `kubernetes.default`.
const API_SERVICE_IP: &str = "10.96.0.1";

/// A certificate and its key, as files.
#[derive(Clone, Debug)]
pub(crate) struct CertFiles {
    pub crt: PathBuf,
    pub key: PathBuf,
}

/// A certificate of a new authority, all in PEM.
pub struct Served {
    /// The authority's certificate.
    pub authority: String,
    /// The certificate, for some names.
    pub certificate: String,
    /// Its key.
    pub key: String,
}

impl Served {
    /// For these names.
    pub fn with(names: &[&str]) -> Result<Self> {
        let key = KeyPair::generate()?;
        let root = authority().self_signed(&key)?.pem();
        let issuer = Issuer::new(authority(), key);
        let own = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        for name in names {
            params
                .subject_alt_names
                .push(SanType::DnsName((*name).try_into()?));
        }
        Ok(Self {
            authority: root,
            certificate: params.signed_by(&own, &issuer)?.pem(),
            key: own.serialize_pem(),
        })
    }
}

/// The authority of one cluster and the directory with all that it signed.
pub(crate) struct Pki {
    directory: PathBuf,
    issuer: Issuer<'static, KeyPair>,
    /// Two tasks that ask for one user must not mix certificate and key.
    signing: Mutex<()>,
}

impl Pki {
    /// Makes the authority and the certificates that components need.
    pub fn create(directory: &Path) -> Result<Self> {
        fs::create_dir_all(directory)?;
        let key = KeyPair::generate()?;
        write(directory, "ca", &authority().self_signed(&key)?.pem(), &key)?;
        write(directory, "service-account", "", &KeyPair::generate()?)?;
        let service_account =
            KeyPair::from_pem(&fs::read_to_string(directory.join("service-account.key"))?)?;
        fs::write(
            directory.join("service-account.pub"),
            service_account.public_key_pem(),
        )?;
        let pki = Self {
            directory: directory.to_owned(),
            issuer: Issuer::new(authority(), key),
            signing: Mutex::default(),
        };
        let names = [
            "kubernetes",
            "kubernetes.default",
            "kubernetes.default.svc",
            "kubernetes.default.svc.cluster.local",
            "localhost",
            "127.0.0.1",
            NODE_IP,
            API_SERVICE_IP,
        ];
        pki.serving("apiserver", &names)?;
        pki.serving("kubelet", &["node1", NODE_IP])?;
        Ok(pki)
    }

    /// The authority of a cluster that runs already.
    pub fn open(directory: &Path) -> Result<Self> {
        let key =
            fs::read_to_string(directory.join("ca.key")).context("the cluster's authority")?;
        let issuer = Issuer::new(authority(), KeyPair::from_pem(&key)?);
        Ok(Self {
            directory: directory.to_owned(),
            issuer,
            signing: Mutex::default(),
        })
    }

    pub fn file(&self, name: &str) -> String {
        self.directory.join(name).display().to_string()
    }

    fn serving(&self, file: &str, names: &[&str]) -> Result<()> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, file);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        for name in names {
            let name = match name.parse() {
                Ok(address) => SanType::IpAddress(address),
                Err(_) => SanType::DnsName((*name).try_into()?),
            };
            params.subject_alt_names.push(name);
        }
        self.sign(file, params).map(drop)
    }

    /// A client certificate: the user is its common name, a group each
    /// organisation.
    pub fn client(&self, user: &str, groups: &[String]) -> Result<CertFiles> {
        ensure!(
            groups.len() <= 2,
            "a certificate here has room for two groups, not {}",
            groups.len()
        );
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, user);
        for (index, group) in groups.iter().enumerate() {
            // The library keeps one entry a type: further organisations go in
            // under the same object identifier spelt as a custom type.
            let kind = if index == 0 {
                DnType::OrganizationName
            } else {
                DnType::CustomDnType(vec![2, 5, 4, 10])
            };
            params.distinguished_name.push(kind, group.as_str());
        }
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let key = groups
            .iter()
            .fold(Key::new().text(user), |key, group| key.text(group));
        let file = format!("client-{}", key.finish());
        let files = self.files(&file);
        let _one_at_a_time = self.signing.lock();
        if files.crt.exists() {
            Ok(files)
        } else {
            self.sign(&file, params)
        }
    }

    fn files(&self, name: &str) -> CertFiles {
        CertFiles {
            crt: self.directory.join(format!("{name}.crt")),
            key: self.directory.join(format!("{name}.key")),
        }
    }

    fn sign(&self, file: &str, mut params: CertificateParams) -> Result<CertFiles> {
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        write(&self.directory, file, &certificate.pem(), &key)
    }
}

fn authority() -> CertificateParams {
    let mut params = CertificateParams::default();
    params
        .distinguished_name
        .push(DnType::CommonName, "evenkeel-cluster");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![
        KeyUsagePurpose::KeyCertSign,
        KeyUsagePurpose::CrlSign,
        KeyUsagePurpose::DigitalSignature,
    ];
    params
}

fn write(directory: &Path, name: &str, certificate: &str, key: &KeyPair) -> Result<CertFiles> {
    let files = CertFiles {
        crt: directory.join(format!("{name}.crt")),
        key: directory.join(format!("{name}.key")),
    };
    if !certificate.is_empty() {
        fs::write(&files.crt, certificate)
            .with_context(|| format!("write {}", files.crt.display()))?;
    }
    fs::write(&files.key, key.serialize_pem())
        .with_context(|| format!("write {}", files.key.display()))?;
    Ok(files)
}
