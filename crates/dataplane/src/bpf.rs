//! bpf(2): the commands that aya keeps to itself, and those whose errors it hides.

use std::ffi::{CString, c_long};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use zerocopy::{FromBytes, Immutable, IntoBytes};

/// Numbers of `linux/bpf.h`, `enum bpf_cmd`.
mod command {
    pub(super) const MAP_CREATE: u32 = 0;
    pub(super) const MAP_LOOKUP_ELEM: u32 = 1;
    pub(super) const MAP_UPDATE_ELEM: u32 = 2;
    pub(super) const MAP_DELETE_ELEM: u32 = 3;
    pub(super) const MAP_GET_NEXT_KEY: u32 = 4;
    pub(super) const OBJ_PIN: u32 = 6;
    pub(super) const OBJ_GET: u32 = 7;
    pub(super) const PROG_GET_FD_BY_ID: u32 = 13;
    pub(super) const OBJ_GET_INFO_BY_FD: u32 = 15;
    pub(super) const LINK_CREATE: u32 = 28;
    pub(super) const LINK_UPDATE: u32 = 29;
    pub(super) const LINK_DETACH: u32 = 34;
}

/// `BPF_MAP_TYPE_HASH`.
pub(crate) const MAP_TYPE_HASH: u32 = 1;
/// `BPF_MAP_TYPE_ARRAY`.
pub(crate) const MAP_TYPE_ARRAY: u32 = 2;
/// `BPF_F_MMAPABLE`.
pub(crate) const MAP_MMAPABLE: u32 = 1 << 10;

/// `enum bpf_attach_type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum AttachType {
    CgroupSockOps = 3,
    CgroupGetpeername4 = 29,
    CgroupGetpeername6 = 30,
    Xdp = 37,
    TcxIngress = 46,
    TcxEgress = 47,
}

/// Length of a map's name in the kernel, with the zero that ends it.
const NAME_LEN: usize = 16;

#[derive(IntoBytes, FromBytes, Immutable)]
#[repr(C)]
struct MapAttributes {
    map_type: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    flags: u32,
    inner_map: u32,
    numa_node: u32,
    name: [u8; NAME_LEN],
}

#[derive(IntoBytes, FromBytes, Immutable)]
#[repr(C)]
struct PinAttributes {
    path: u64,
    fd: u32,
    flags: u32,
}

#[derive(IntoBytes, FromBytes, Immutable)]
#[repr(C)]
struct ElementAttributes {
    map: u32,
    zero: u32,
    key: u64,
    value: u64,
    flags: u64,
}

#[derive(IntoBytes, FromBytes, Immutable)]
#[repr(C)]
struct InfoAttributes {
    fd: u32,
    len: u32,
    info: u64,
}

#[derive(IntoBytes, FromBytes, Immutable)]
#[repr(C)]
struct IdAttributes {
    id: u32,
    next: u32,
    flags: u32,
}

#[derive(IntoBytes, FromBytes, Immutable)]
#[repr(C)]
struct LinkAttributes {
    program: u32,
    /// Number of an interface, or the descriptor of a cgroup.
    target: u32,
    attach_type: u32,
    flags: u32,
}

#[derive(IntoBytes, FromBytes, Immutable)]
#[repr(C)]
struct LinkUpdateAttributes {
    link: u32,
    program: u32,
    flags: u32,
    old_program: u32,
}

#[derive(IntoBytes, FromBytes, Immutable)]
#[repr(C)]
struct LinkDetachAttributes {
    link: u32,
}

/// The beginning of `struct bpf_map_info`.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
pub(crate) struct MapInfo {
    pub(crate) map_type: u32,
    pub(crate) id: u32,
    /// Bytes.
    pub(crate) key_size: u32,
    /// Bytes.
    pub(crate) value_size: u32,
    pub(crate) max_entries: u32,
    pub(crate) flags: u32,
}

/// The beginning of `struct bpf_link_info`, for links to an interface.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
pub(crate) struct LinkInfo {
    pub(crate) link_type: u32,
    pub(crate) id: u32,
    pub(crate) program_id: u32,
    pub(crate) hole: u32,
    /// The interface's present number in its namespace; 0 once it is gone.
    pub(crate) ifindex: u32,
    pub(crate) attach_type: u32,
}

/// The beginning of `struct bpf_link_info`, for links to a cgroup.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
pub(crate) struct CgroupLinkInfo {
    pub(crate) link_type: u32,
    pub(crate) id: u32,
    pub(crate) program_id: u32,
    pub(crate) hole: u32,
    /// The cgroup's number; 0 once it is gone.
    pub(crate) cgroup: u64,
    pub(crate) attach_type: u32,
    pub(crate) rest: u32,
}

/// One call.
///
/// # Safety
/// Every address among the attributes is valid for what the command reads or writes there.
unsafe fn call<T: FromBytes + IntoBytes + Immutable>(command: u32, attributes: &mut T) -> io::Result<RawFd> {
    // SAFETY: the attributes are initialized bytes of the length given, any bytes are valid in them if the
    // kernel writes them, and the caller vouches for what they point to.
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, c_long::from(command), &raw mut *attributes, size_of::<T>()) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    RawFd::try_from(result).map_err(io::Error::other)
}

fn number(fd: BorrowedFd<'_>) -> u32 {
    fd.as_raw_fd().cast_unsigned()
}

fn address<T>(pointer: *const T) -> u64 {
    pointer.expose_provenance() as u64
}

fn c_path(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(io::Error::from)
}

/// Makes an array that can be mapped into memory, all zeros. The name is cut to the kernel's length.
pub(crate) fn array_create(name: &str, value_size: usize, max_entries: u32) -> io::Result<OwnedFd> {
    let mut attributes = MapAttributes {
        map_type: MAP_TYPE_ARRAY,
        key_size: 4,
        value_size: u32::try_from(value_size).map_err(io::Error::other)?,
        max_entries,
        flags: MAP_MMAPABLE,
        inner_map: 0,
        numa_node: 0,
        name: [0; NAME_LEN],
    };
    attributes.name.iter_mut().take(NAME_LEN - 1).zip(name.bytes()).for_each(|(to, from)| *to = from);
    // SAFETY: no addresses. What the call returns is a descriptor that nobody else has.
    unsafe { call(command::MAP_CREATE, &mut attributes).map(|fd| OwnedFd::from_raw_fd(fd)) }
}

/// Opens what is pinned at `path`: a map or a link.
pub(crate) fn get(path: &Path) -> io::Result<OwnedFd> {
    let path = c_path(path)?;
    let mut attributes = PinAttributes { path: address(path.as_ptr()), fd: 0, flags: 0 };
    // SAFETY: the path is a string that ends in zero and lives until the call is over. What the call returns
    // is a descriptor that nobody else has.
    unsafe { call(command::OBJ_GET, &mut attributes).map(|fd| OwnedFd::from_raw_fd(fd)) }
}

/// Pins a map or a link.
pub(crate) fn pin(object: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    let path = c_path(path)?;
    let mut attributes = PinAttributes { path: address(path.as_ptr()), fd: number(object), flags: 0 };
    // SAFETY: the path is a string that ends in zero and lives until the call is over.
    unsafe { call(command::OBJ_PIN, &mut attributes) }.map(drop)
}

/// Whether the kernel has no program (any more) of that number. `false` too where it does not tell.
pub(crate) fn is_no_program(id: u32) -> bool {
    let mut attributes = IdAttributes { id, next: 0, flags: 0 };
    // SAFETY: no addresses. What the call returns is a descriptor that nobody else has.
    let program =
        unsafe { call(command::PROG_GET_FD_BY_ID, &mut attributes).map(|fd| OwnedFd::from_raw_fd(fd)) };
    program.is_err_and(|e| e.raw_os_error() == Some(libc::ENOENT))
}

fn info<T: FromBytes + IntoBytes + Immutable>(object: BorrowedFd<'_>) -> io::Result<T> {
    let mut info = T::new_zeroed();
    let len = u32::try_from(size_of::<T>()).map_err(io::Error::other)?;
    let mut attributes =
        InfoAttributes { fd: number(object), len, info: (&raw mut info).expose_provenance() as u64 };
    // SAFETY: the address is that of `len` bytes that any content is valid for; the kernel writes no more
    // than those.
    unsafe { call(command::OBJ_GET_INFO_BY_FD, &mut attributes)? };
    Ok(info)
}

/// What the kernel knows of a map.
pub(crate) fn map_info(map: BorrowedFd<'_>) -> io::Result<MapInfo> {
    info(map)
}

/// What the kernel knows of a link.
pub(crate) fn link_info(link: BorrowedFd<'_>) -> io::Result<LinkInfo> {
    info(link)
}

/// What the kernel knows of a link to a cgroup.
pub(crate) fn cgroup_link_info(link: BorrowedFd<'_>) -> io::Result<CgroupLinkInfo> {
    info(link)
}

/// Attaches a program to a cgroup, beside those that are there, until the descriptor and its pins are gone.
pub(crate) fn cgroup_link_create(
    program: BorrowedFd<'_>,
    cgroup: BorrowedFd<'_>,
    attach_type: AttachType,
) -> io::Result<OwnedFd> {
    link_create(program, number(cgroup), attach_type, 0)
}

/// Attaches a program to an interface of the calling thread's network namespace, until the descriptor and its
/// pins are gone.
pub(crate) fn link_create(
    program: BorrowedFd<'_>,
    ifindex: u32,
    attach_type: AttachType,
    flags: u32,
) -> io::Result<OwnedFd> {
    let mut attributes =
        LinkAttributes { program: number(program), target: ifindex, attach_type: attach_type as u32, flags };
    // SAFETY: no addresses. What the call returns is a descriptor that nobody else has.
    unsafe { call(command::LINK_CREATE, &mut attributes).map(|fd| OwnedFd::from_raw_fd(fd)) }
}

/// Puts another program in place of a link's, between two packets. `ENOLINK` if the interface is gone.
pub(crate) fn link_update(link: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    let mut attributes =
        LinkUpdateAttributes { link: number(link), program: number(program), flags: 0, old_program: 0 };
    // SAFETY: no addresses.
    unsafe { call(command::LINK_UPDATE, &mut attributes) }.map(drop)
}

/// Takes a link off its interface or cgroup at once, whoever else still holds it. (Removing its pin does so some time
/// later.)
pub(crate) fn link_detach(link: BorrowedFd<'_>) -> io::Result<()> {
    let mut attributes = LinkDetachAttributes { link: number(link) };
    // SAFETY: no addresses.
    unsafe { call(command::LINK_DETACH, &mut attributes) }.map(drop)
}

/// A map from `K` to `u32`, with its layout checked once.
#[derive(Debug)]
pub(crate) struct HashMap<K> {
    map: OwnedFd,
    max_entries: u32,
    key: core::marker::PhantomData<fn(K)>,
}

impl<K: IntoBytes + Immutable> HashMap<K> {
    /// Of a map; fails if keys or values are of other sizes.
    pub(crate) fn new(map: OwnedFd) -> io::Result<Self> {
        use std::os::fd::AsFd;
        let info = map_info(map.as_fd())?;
        if info.key_size as usize != size_of::<K>() || info.value_size as usize != size_of::<u32>() {
            return Err(io::Error::from(io::ErrorKind::InvalidData));
        }
        Ok(Self { map, max_entries: info.max_entries, key: core::marker::PhantomData })
    }

    /// Most entries that it takes.
    pub(crate) fn max_entries(&self) -> u32 {
        self.max_entries
    }

    fn attributes(&self, key: &K, value: u64) -> ElementAttributes {
        let map = self.map.as_raw_fd().cast_unsigned();
        ElementAttributes { map, zero: 0, key: address(&raw const *key), value, flags: 0 }
    }

    /// The value of `key`.
    pub(crate) fn get(&self, key: &K) -> io::Result<Option<u32>> {
        let mut value = 0_u32;
        let mut attributes = self.attributes(key, (&raw mut value).expose_provenance() as u64);
        // SAFETY: key and value are of the map's sizes, which `new` checked; both outlive the call.
        match unsafe { call(command::MAP_LOOKUP_ELEM, &mut attributes) } {
            Ok(_) => Ok(Some(value)),
            Err(e) if e.raw_os_error() == Some(libc::ENOENT) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Sets the value of `key`. `E2BIG` if the map is full.
    pub(crate) fn insert(&self, key: &K, value: u32) -> io::Result<()> {
        let mut attributes = self.attributes(key, address(&raw const value));
        // SAFETY: as above.
        unsafe { call(command::MAP_UPDATE_ELEM, &mut attributes) }.map(drop)
    }

    /// All keys. One that is removed meanwhile may be among them; after it, those before may come once more.
    pub(crate) fn keys(&self) -> io::Result<Vec<K>>
    where
        K: FromBytes + Copy,
    {
        let mut keys: Vec<K> = Vec::new();
        let mut next = K::new_zeroed();
        // No more than fit, should others add and remove all the time.
        while keys.len() < self.max_entries as usize {
            let key = keys.last().map_or(0, |key| address(&raw const *key));
            let mut attributes = ElementAttributes {
                map: self.map.as_raw_fd().cast_unsigned(),
                zero: 0,
                key,
                value: (&raw mut next).expose_provenance() as u64,
                flags: 0,
            };
            // SAFETY: both keys are of the map's size, which `new` checked, and outlive the call; the next one is written.
            match unsafe { call(command::MAP_GET_NEXT_KEY, &mut attributes) } {
                Ok(_) => keys.push(next),
                Err(e) if e.raw_os_error() == Some(libc::ENOENT) => break,
                Err(e) => return Err(e),
            }
        }
        Ok(keys)
    }

    /// Removes `key`, if it is there.
    pub(crate) fn remove(&self, key: &K) -> io::Result<()> {
        let mut attributes = self.attributes(key, 0);
        // SAFETY: as above; no value is read or written.
        match unsafe { call(command::MAP_DELETE_ELEM, &mut attributes) } {
            Err(e) if e.raw_os_error() != Some(libc::ENOENT) => Err(e),
            _ => Ok(()),
        }
    }
}
