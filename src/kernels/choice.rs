//! Which instructions the kernels use: one choice for networks, pixels and search.
//!
//! * An [`InstructionSet`] has one name: in [`VARIABLE`], in logs, in `doctor` and in `bench`.
//! * Without the variable, the fastest set of this processor is chosen; with it, the named one.
//! * Every room runs the fastest of its kernels that needs no more than the chosen set. A room
//!   without a kernel for exactly that set therefore uses a slower one, and reports its name.
//! * A name that does not exist, or a set that this processor lacks, is an [`UnusableSet`]. It is
//!   an error where a network is loaded and at the command line, never a silent default.
//!
//! The variable is read once. It is for tests and comparisons: all kernels give the same bytes.

use std::fmt;
use std::sync::OnceLock;

/// The environment variable that names the instruction set to use.
pub const VARIABLE: &str = "WATCHPOST_KERNEL";

/// A family of instructions that kernels are written for. Of two sets for one kind of processor
/// the greater one contains the smaller one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum InstructionSet {
    /// Plain Rust, on every processor: the reference.
    Scalar,
    /// AArch64 with Advanced SIMD: Cortex-A53, A72 (Raspberry Pi 4).
    Neon,
    /// The same with the dot product of bytes: Cortex-A76 (Raspberry Pi 5), A78 (Jetson Orin).
    NeonDot,
    /// x86-64 with AVX2: Haswell, Zen 1 and later.
    Avx2,
    /// The same with the dot product of bytes in 256-bit registers, as AVX-VNNI or AVX-512 VL has
    /// it: Alder Lake, the N100 and its like, Cascade Lake.
    AvxVnni,
    /// x86-64 with AVX-512 F, BW, VL and VNNI: Cascade Lake, Ice Lake, Zen 4 and later.
    Avx512Vnni,
}

impl InstructionSet {
    /// Every set, those of each kind of processor in ascending order.
    pub const ALL: [Self; 6] =
        [Self::Scalar, Self::Neon, Self::NeonDot, Self::Avx2, Self::AvxVnni, Self::Avx512Vnni];

    /// The name in the environment variable and in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::Neon => "neon",
            Self::NeonDot => "neon-dot",
            Self::Avx2 => "avx2",
            Self::AvxVnni => "avxvnni",
            Self::Avx512Vnni => "avx512vnni",
        }
    }

    /// The set of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|set| set.name() == name)
    }

    /// Whether this processor and its operating system have it.
    pub fn is_available(self) -> bool {
        match self {
            Self::Scalar => true,
            // Part of every AArch64 processor that runs Linux.
            #[cfg(target_arch = "aarch64")]
            Self::Neon => true,
            #[cfg(target_arch = "aarch64")]
            Self::NeonDot => std::arch::is_aarch64_feature_detected!("dotprod"),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => is_x86_feature_detected!("avx2"),
            #[cfg(target_arch = "x86_64")]
            Self::AvxVnni => {
                is_x86_feature_detected!("avx2")
                    && (is_x86_feature_detected!("avxvnni")
                        || (is_x86_feature_detected!("avx512vl")
                            && is_x86_feature_detected!("avx512vnni")))
            }
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Vnni => {
                is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512vl")
                    && is_x86_feature_detected!("avx512vnni")
            }
            _ => false,
        }
    }

    /// All that this processor has, the fastest first; [`InstructionSet::Scalar`] is the last.
    pub fn available() -> Vec<Self> {
        Self::ALL.into_iter().rev().filter(|set| set.is_available()).collect()
    }

    /// The fastest that this processor has.
    pub fn fastest() -> Self {
        Self::ALL.into_iter().rev().find(|set| set.is_available()).unwrap_or(Self::Scalar)
    }
}

impl fmt::Display for InstructionSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why the set that [`VARIABLE`] names cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UnusableSet {
    /// No set has this name.
    Unknown(String),
    /// This processor does not have it.
    Unavailable(InstructionSet),
}

impl UnusableSet {
    /// What is wrong.
    pub fn fault(&self) -> String {
        match self {
            Self::Unknown(name) => format!("{VARIABLE}={name} names no instruction set"),
            Self::Unavailable(set) => {
                format!("{VARIABLE}={set} names instructions that this processor does not have")
            }
        }
    }

    /// What to do.
    pub fn remedy(&self) -> String {
        let names: Vec<&str> = InstructionSet::available().iter().map(|set| set.name()).collect();
        format!("unset it, or set it to one of {}", names.join(", "))
    }
}

impl fmt::Display for UnusableSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.fault(), self.remedy())
    }
}

impl std::error::Error for UnusableSet {}

/// The set of this name, or the fastest where there is none.
///
/// # Errors
/// [`UnusableSet`] where the name is unknown or this processor lacks the set.
pub fn choose(name: Option<&str>) -> Result<InstructionSet, UnusableSet> {
    let Some(name) = name else { return Ok(InstructionSet::fastest()) };
    match InstructionSet::named(name) {
        None => Err(UnusableSet::Unknown(name.to_owned())),
        Some(set) if set.is_available() => Ok(set),
        Some(set) => Err(UnusableSet::Unavailable(set)),
    }
}

/// The set that this process uses, from [`VARIABLE`] as it was when this was first asked.
///
/// # Errors
/// As [`choose`].
pub fn chosen() -> Result<InstructionSet, UnusableSet> {
    static CHOSEN: OnceLock<Result<InstructionSet, UnusableSet>> = OnceLock::new();
    let from_environment = || {
        let name = std::env::var_os(VARIABLE).map(|name| name.to_string_lossy().into_owned());
        choose(name.as_deref())
    };
    CHOSEN.get_or_init(from_environment).clone()
}

/// The set that this process uses, or the fastest where [`chosen`] is an error: for code that
/// cannot fail, below a command line that refuses the error.
pub fn in_use() -> InstructionSet {
    chosen().unwrap_or_else(|_| InstructionSet::fastest())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_set_is_found_by_its_name_and_by_no_other() {
        for set in InstructionSet::ALL {
            assert_eq!(InstructionSet::named(set.name()), Some(set));
        }
        for name in ["", "NEON", "neondot", "avx512-vnni", "scalar "] {
            assert_eq!(InstructionSet::named(name), None, "{name}");
        }
    }

    #[test]
    fn without_a_name_the_fastest_available_set_is_chosen() {
        let available = InstructionSet::available();
        assert_eq!(choose(None), Ok(available[0]));
        assert_eq!(available.last(), Some(&InstructionSet::Scalar));
        assert!(available.windows(2).all(|pair| pair[0] > pair[1]), "the fastest first");
        for set in available {
            assert_eq!(choose(Some(set.name())), Ok(set));
        }
    }

    #[test]
    fn an_unknown_name_and_a_set_of_another_processor_are_refused_with_the_names_to_choose_from() {
        let unknown = choose(Some("mmx")).unwrap_err();
        assert_eq!(unknown, UnusableSet::Unknown("mmx".into()));
        assert!(unknown.to_string().starts_with("WATCHPOST_KERNEL=mmx names no instruction set"));
        assert!(unknown.to_string().ends_with("scalar"));
        let foreign = InstructionSet::ALL.into_iter().find(|set| !set.is_available());
        let foreign = foreign.expect("no processor is both an ARM and an x86 one");
        assert_eq!(choose(Some(foreign.name())), Err(UnusableSet::Unavailable(foreign)));
    }
}
