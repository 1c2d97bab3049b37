//! A certificate in files. The kubelet replaces a mounted file by swapping symbolic links, and a watch on the file would not see this. So the
//! content is compared every few seconds.

use std::{
    error::Error,
    fmt, fs, io,
    path::{Path, PathBuf},
};

use rustls::pki_types::CertificateDer;

use super::certificates::{CertificatePair, PairError, certificates};

/// The files of a certificate.
#[derive(Clone, Debug)]
pub struct CertificateFiles {
    /// PEM chain, leaf certificate first. It can also contain the key.
    pub certificate: PathBuf,
    /// PEM key of the leaf certificate; none if it is in the file of the certificate.
    pub key: Option<PathBuf>,
    /// PEM certificates of the CA, which the server writes into the webhook configuration; none if another program does so.
    pub authority: Option<PathBuf>,
}

/// The content of the files.
#[derive(Clone, Debug, PartialEq)]
pub struct FileContent {
    pub(super) pair: CertificatePair,
    pub(super) authorities: Option<Vec<CertificateDer<'static>>>,
}

/// A file that cannot be used.
#[derive(Debug)]
pub struct FileError {
    path: PathBuf,
    cause: Cause,
}

#[derive(Debug)]
enum Cause {
    Unreadable(io::Error),
    Unusable(PairError),
}

// === impl CertificateFiles ===

impl CertificateFiles {
    /// Reads the files.
    ///
    /// # Errors
    /// Fails if a file cannot be used. The error names the file and the expected content.
    pub fn read(&self) -> Result<FileContent, FileError> {
        let chain = read(&self.certificate)?;
        let key_path = self.key.as_ref().unwrap_or(&self.certificate);
        let pair = CertificatePair::from_pem(&chain, &read(key_path)?).map_err(|error| {
            let path = match error {
                PairError::Certificate(_) | PairError::NoCertificate => &self.certificate,
                PairError::Key(_) | PairError::Mismatch(_) => key_path,
            };
            FileError::unusable(path, error)
        })?;
        let authorities = self.authority.as_deref().map(|path| {
            let certificates =
                certificates(&read(path)?).map_err(|error| FileError::unusable(path, error))?;
            if certificates.is_empty() {
                return Err(FileError::unusable(path, PairError::NoCertificate));
            }
            Ok(certificates)
        });
        Ok(FileContent { pair, authorities: authorities.transpose()? })
    }
}

fn read(path: &Path) -> Result<Vec<u8>, FileError> {
    fs::read(path).map_err(|error| FileError { path: path.to_owned(), cause: Cause::Unreadable(error) })
}

// === impl FileError ===

impl FileError {
    fn unusable(path: &Path, error: PairError) -> Self {
        Self { path: path.to_owned(), cause: Cause::Unusable(error) }
    }
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        match &self.cause {
            Cause::Unreadable(_) => write!(f, "cannot read {path}"),
            Cause::Unusable(error) => write!(f, "cannot use {path}: {error}"),
        }
    }
}

impl Error for FileError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &self.cause {
            Cause::Unreadable(error) => Some(error),
            Cause::Unusable(error) => error.source(),
        }
    }
}
