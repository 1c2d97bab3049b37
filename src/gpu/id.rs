//! Parses the device IDs that Kubernetes, its device plugins and container runtimes use. Pure.

use super::values::Device;

/// ID of a device in one of the forms that [`Id::parse`] reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Id {
    form: Form,
    /// Whether the ID names a replica of a device. A device with replicas is shared by time slicing or MPS.
    pub is_replica: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Form {
    /// A card or slice by its UUID or the first digits of it.
    Uuid(String),
    /// A card by its index in the driver's order.
    Index(u32),
    /// A card by the number of its device file (GKE).
    Minor(u32),
    /// A slice by the index of its card and by its own index on the card.
    SliceOfIndex(u32, u32),
    /// A slice by its card's UUID, GPU instance and compute instance (drivers before 470).
    SliceOfUuid(String, u32, u32),
    /// A slice by the number of its card's device file and by its GPU instance (GKE).
    SliceOfMinor(u32, u32),
    /// A slice by the number of its card's device file and by its profile, none if the name does not show it (NVIDIA's DRA driver).
    SliceOfProfile(u32, Option<String>),
}

/// Length of a UUID without a prefix, and the positions of its hyphens.
const UUID_LENGTH: usize = 36;
const HYPHENS: [usize; 4] = [8, 13, 18, 23];

/// Maximum number of IDs in one list. No session has more devices. The limit is necessary because the list comes from a pod's
/// annotation.
const MAX_IDS: usize = 64;

/// Parses a list of IDs, separated by commas or white space.
///
/// # Errors
/// Fails with the first name that is not an ID. Also fails with the first name after the maximum number: the caller must not use
/// a part of the list.
pub fn list(text: &str) -> Result<Vec<Id>, &str> {
    let names = text.split(|c: char| c == ',' || c.is_whitespace()).filter(|name| !name.is_empty());
    let parse = |(number, name)| Id::parse(name).filter(|_| number < MAX_IDS).ok_or(name);
    names.take(MAX_IDS + 1).enumerate().map(parse).collect()
}

// === impl Id ===

impl Id {
    /// Parses one ID. Returns none if the text has none of these forms:
    ///
    /// * `GPU-<uuid>` and `MIG-<uuid>`, or `<uuid>` (Jetson). The first 8 or more digits of the UUID are enough. A replica has
    ///   `::<n>` at the end
    /// * `<n>` and `<n>:<m>`
    /// * `MIG-GPU-<uuid>/<gi>/<ci>` (drivers before 470)
    /// * `nvidia<n>` and `nvidia<n>/gi<m>` (GKE); a replica has `/vgpu<k>` at the end
    /// * a CDI name of NVIDIA for one of the other forms, such as `nvidia.com/gpu=<n>`
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        let name = without_cdi_kind(name)?;
        let (name, replica) =
            name.split_once("::").map_or((name, None), |(name, replica)| (name, Some(replica)));
        if replica.is_some_and(|replica| number(replica).is_none()) {
            return None;
        }
        let (name, is_gke_replica) = match name.rsplit_once("/vgpu") {
            Some((name, replica)) if name.starts_with("nvidia") && number(replica).is_some() => (name, true),
            _ => (name, false),
        };
        Some(Self { form: Form::parse(name)?, is_replica: replica.is_some() || is_gke_replica })
    }

    /// Parses an ID that is a complete UUID with a prefix. Returns none for the other forms. A UUID without a prefix can belong
    /// to a device that is not a GPU.
    #[must_use]
    pub fn uuid(name: &str) -> Option<Self> {
        Self::parse(name).filter(|id| id.as_uuid().is_some_and(|uuid| !split(uuid).0.is_empty()))
    }

    /// Parses an ID that the kubelet has from a device plugin. Returns none for an index, and for a UUID that is not complete or has
    /// no prefix: a plugin of another kind of device can use them. NVIDIA's and GKE's plugins do not.
    #[must_use]
    pub fn of_plugin(name: &str) -> Option<Self> {
        Self::parse(name).filter(|id| match id.form {
            Form::Index(_) | Form::SliceOfIndex(..) | Form::SliceOfProfile(..) => false,
            Form::Uuid(_) => Self::uuid(name).is_some(),
            Form::Minor(_) | Form::SliceOfUuid(..) | Form::SliceOfMinor(..) => true,
        })
    }

    /// Parses the name of a device of NVIDIA's DRA driver `gpu.nvidia.com`. Returns none for a device that NVML cannot identify, such
    /// as `gpu-vfio-<n>`. The forms are those of `CanonicalName` in the driver's `deviceinfo.go` and `mig.go`; `<minor>` is the number
    /// of the card's device file:
    ///
    /// * `gpu-<minor>`
    /// * `gpu-<minor>-mig-<profile>-<profile ID>-<start>`, the profile without dots. NVML's name of a slice has the profile
    /// * `gpu-<minor>-mig-<profile ID>-<start>-<size>` before 25.12
    #[must_use]
    pub fn of_dra_device(name: &str) -> Option<Self> {
        let name = name.strip_prefix("gpu-")?;
        let form = match name.split_once("-mig-") {
            None => Form::Minor(number(name)?),
            Some((card, slice)) => Form::SliceOfProfile(number(card)?, profile_of_dra(slice)?),
        };
        Some(Self { form, is_replica: false })
    }

    /// The same device, shared with other pods.
    #[must_use]
    pub fn into_replica(self) -> Self {
        Self { is_replica: true, ..self }
    }

    /// The UUID as it is written; none if the ID has another form, or if the UUID is not complete.
    #[must_use]
    pub fn as_uuid(&self) -> Option<&str> {
        match &self.form {
            Form::Uuid(uuid) => Some(&**uuid).filter(|uuid| split(uuid).1.len() == UUID_LENGTH),
            _ => None,
        }
    }

    /// Whether the ID can mean the device with this UUID; none if the ID contains no UUID of a device.
    #[must_use]
    pub fn fits_uuid(&self, uuid: &str) -> Option<bool> {
        match &self.form {
            Form::Uuid(named) => Some(begins_with(uuid, named)),
            _ => None,
        }
    }

    /// Whether the ID names one of these devices.
    #[must_use]
    pub fn is_among(&self, devices: &[Device]) -> bool {
        (0..devices.len()).any(|index| self.names(devices, index))
    }

    /// Whether the ID names the device at `index` of these devices. If the first digits of a UUID, or a profile, match several
    /// devices, they name none of them.
    #[must_use]
    pub fn names(&self, devices: &[Device], index: usize) -> bool {
        let fits = |device: &&Device| self.form.fits(device);
        let is_unique = || devices.iter().filter(fits).nth(1).is_none();
        let is_ambiguous = matches!(self.form, Form::Uuid(_) | Form::SliceOfProfile(..));
        fits(&&devices[index]) && (!is_ambiguous || is_unique())
    }
}

// === impl Form ===

impl Form {
    fn parse(name: &str) -> Option<Self> {
        if let Some(slice) = name.strip_prefix("MIG-").filter(|rest| rest.starts_with("GPU-")) {
            let (card, instances) = slice.split_once('/')?;
            let (gpu, compute) = instances.split_once('/')?;
            let (gpu, compute) = (number(gpu)?, number(compute)?);
            let is_complete = is_uuid_start(split(card).1) && split(card).1.len() == UUID_LENGTH;
            return is_complete.then(|| Self::SliceOfUuid(card.to_owned(), gpu, compute));
        }
        let (prefix, digits) = split(name);
        if !prefix.is_empty() || digits.len() == UUID_LENGTH {
            return is_uuid_start(digits).then(|| Self::Uuid(name.to_owned()));
        }
        let Some(file) = name.strip_prefix("nvidia") else {
            return match name.split_once(':') {
                Some((card, slice)) => Some(Self::SliceOfIndex(number(card)?, number(slice)?)),
                None => number(name).map(Self::Index),
            };
        };
        match file.split_once("/gi") {
            Some((card, instance)) => Some(Self::SliceOfMinor(number(card)?, number(instance)?)),
            None => number(file).map(Self::Minor),
        }
    }

    fn fits(&self, device: &Device) -> bool {
        let slice = device.slice.as_ref();
        match self {
            Self::Uuid(uuid) => begins_with(&device.uuid, uuid),
            Self::Index(index) => slice.is_none() && device.index == *index,
            Self::Minor(minor) => slice.is_none() && device.minor == Some(*minor),
            Self::SliceOfIndex(card, index) => {
                slice.is_some_and(|slice| device.index == *card && slice.index == *index)
            }
            Self::SliceOfUuid(card, gpu, compute) => slice.is_some_and(|slice| {
                slice.card.eq_ignore_ascii_case(card)
                    && (slice.gpu_instance, slice.compute_instance) == (Some(*gpu), Some(*compute))
            }),
            Self::SliceOfMinor(minor, gpu) => {
                slice.is_some_and(|slice| device.minor == Some(*minor) && slice.gpu_instance == Some(*gpu))
            }
            Self::SliceOfProfile(minor, profile) => {
                let has_profile = || profile.is_none() || *profile == dra_profile(device);
                slice.is_some() && device.minor == Some(*minor) && has_profile()
            }
        }
    }
}

/// The profile in `<profile>-<profile ID>-<start>`; an inner none for the older form, which has no profile.
fn profile_of_dra(slice: &str) -> Option<Option<String>> {
    let mut parts = slice.rsplitn(3, '-');
    let (start, profile_id) = (parts.next()?, parts.next()?);
    let profile = parts.next().filter(|profile| !profile.is_empty())?;
    (number(start).is_some() && number(profile_id).is_some())
        .then(|| Some(profile.to_owned()).filter(|profile| number(profile).is_none()))
}

/// The profile of a slice as the DRA driver writes it (`toRFC1123Compliant`), such as `1g10gb-me` for `NVIDIA A30 MIG 1g.10gb+me`.
fn dra_profile(device: &Device) -> Option<String> {
    let (_, profile) = device.model.as_deref()?.split_once(" MIG ")?;
    let allowed = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    let name: String = profile.chars().filter(|c| *c != '.').map(allowed).collect();
    Some(name.trim_matches('-').to_owned())
}

/// The ID in a CDI name of an NVIDIA GPU. Returns a text that is not a CDI name unchanged, and none for a CDI name of another
/// device. `nvidia-ctk` can write `gpu<n>` and `mig<n>:<m>` for the indices.
fn without_cdi_kind(name: &str) -> Option<&str> {
    let Some((kind, id)) = name.split_once('=') else { return Some(name) };
    let vendor = kind.strip_suffix("/gpu")?;
    let is_nvidia = vendor == "nvidia.com" || vendor.ends_with(".nvidia.com");
    let index = id.strip_prefix("gpu").or_else(|| id.strip_prefix("mig"));
    is_nvidia.then_some(index.unwrap_or(id))
}

/// Splits a UUID into its prefix and its digits. The driver of Jetson boards writes no prefix.
fn split(uuid: &str) -> (&str, &str) {
    let with = |prefix| Some((prefix, uuid.strip_prefix(prefix)?));
    with("GPU-").or_else(|| with("MIG-")).unwrap_or(("", uuid))
}

/// Whether a device's UUID begins with the digits of `named`. The prefixes must be equal, or one is absent.
fn begins_with(uuid: &str, named: &str) -> bool {
    let ((prefix, digits), (named_prefix, named_digits)) = (split(uuid), split(named));
    let is_same_kind = prefix == named_prefix || prefix.is_empty() || named_prefix.is_empty();
    let start = digits.get(..named_digits.len());
    is_same_kind && start.is_some_and(|start| start.eq_ignore_ascii_case(named_digits))
}

/// Whether the text is a UUID without prefix, or the start of one with at least 8 digits.
fn is_uuid_start(text: &str) -> bool {
    let fits = |(place, byte): (usize, u8)| match HYPHENS.contains(&place) {
        true => byte == b'-',
        false => byte.is_ascii_hexdigit(),
    };
    (HYPHENS[0]..=UUID_LENGTH).contains(&text.len()) && text.bytes().enumerate().all(fits)
}

/// Parses a number that consists of digits only.
fn number(text: &str) -> Option<u32> {
    text.parse().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests;
