//! FTP with a real server and a real client: active and passive, both families, NAT and full NAT, several transfers over one
//! control connection, with the daemon alive, dead, and killed in between.

use std::fs::{self, DirBuilder, Permissions};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio, id};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use nix::unistd::User;
use rvs_testkit::{Cgroup, Family, Host, wait_until};

use crate::client_address::agent::Agent;
use crate::full_nat_sources;
use crate::method::Attach;
use crate::stage::LIMIT;
use crate::turn::await_turn;
use crate::world::{FAMILIES, Process, Way, World};

const VSFTPD: &str = "vsftpd";
/// The virtual port.
const PORT: u16 = 21;
/// Bytes of the files, so many that a transfer is more than one window.
const LEN: usize = 3_000_000;
/// Bytes that a slow transfer takes each second.
const SLOW: &str = "1M";

/// The ways for data, as curl is told of them; those of IPv4 alone at the end.
const MODES: [(&str, &[&str]); 4] = [
    ("EPSV", &[]),
    ("EPRT", &["--ftp-port", "-"]),
    ("PASV", &["--disable-epsv"]),
    ("PORT", &["--ftp-port", "-", "--disable-eprt"]),
];

fn modes(family: Family) -> &'static [(&'static str, &'static [&'static str])] {
    if family == Family::V4 { &MODES } else { &MODES[..2] }
}

/// A running vsftpd at each of a server's addresses, with files to get and a folder to put some into.
struct FtpServers {
    _processes: Vec<Process>,
    folder: PathBuf,
}

impl FtpServers {
    /// `program`: how to call one.
    fn start(host: &Host, addresses: &[IpAddr], port: u16, program: impl Fn() -> Command) -> Self {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("rvs-ftp-{}-{number}", id()));
        DirBuilder::new().mode(0o755).create(&folder).unwrap();
        for name in ["root", "root/up", "empty", "got"] {
            DirBuilder::new().mode(0o755).create(folder.join(name)).unwrap();
        }
        let user = User::from_name("ftp").unwrap().unwrap();
        chown(folder.join("root/up"), Some(user.uid.as_raw()), Some(user.gid.as_raw())).unwrap();
        for (i, name) in ["a", "b", "c"].into_iter().enumerate() {
            let path = folder.join("root").join(name);
            fs::write(&path, contents(i)).unwrap();
            fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        }
        let start = |address: &IpAddr| start(host, &folder, SocketAddr::new(*address, port), program());
        Self { _processes: addresses.iter().map(start).collect(), folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}

impl Drop for FtpServers {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.folder).ok();
    }
}

/// What is in the file of that number.
fn contents(number: usize) -> Vec<u8> {
    (0..LEN).map(|i| u8::try_from((i * (7 + number) + i / 251) % 256).unwrap()).collect()
}

/// Starts a server and waits until it listens.
fn start(host: &Host, folder: &Path, at: SocketAddr, mut command: Command) -> Process {
    let family = if at.is_ipv4() {
        "listen=YES\nlisten_ipv6=NO\nlisten_address"
    } else {
        "listen=NO\nlisten_ipv6=YES\nlisten_address6"
    };
    let config = format!(
        "{family}={}\nlisten_port={}\nftp_data_port={}\nconnect_from_port_20=YES\nbackground=NO\n\
         anonymous_enable=YES\nlocal_enable=NO\nno_anon_password=YES\nanon_root={}\nsecure_chroot_dir={}\n\
         write_enable=YES\nanon_upload_enable=YES\nanon_umask=022\nxferlog_enable=NO\nseccomp_sandbox=NO\n\
         isolate=NO\nisolate_network=NO\n",
        at.ip(),
        at.port(),
        at.port() - 1,
        folder.join("root").display(),
        folder.join("empty").display(),
    );
    let path = folder.join(format!("{}.conf", if at.is_ipv4() { "v4" } else { "v6" }));
    fs::write(&path, config).unwrap();
    command.arg(&path).stdin(Stdio::null()).stdout(Stdio::null());
    let process = Process::start(host, &mut command);
    wait_until("vsftpd", LIMIT, || {
        host.netns().enter(|| TcpStream::connect_timeout(&at, Duration::from_secs(1)).is_ok()).unwrap()
    })
    .unwrap();
    process
}

/// One curl that gets three files, a listing, and puts two, all over one control connection.
fn transfer(files: &FtpServers, service: SocketAddr, mode: &[&str], more: &[&str]) -> Command {
    let got = files.path("got");
    let mut command = Command::new("curl");
    command.args(["--silent", "--show-error", "--fail", "--max-time", "60", "--connect-timeout", "10"]);
    for (path, to) in [("a", "a"), ("b", "b"), ("", "list"), ("c", "c")] {
        command
            .args(mode)
            .args(more)
            .arg("--output")
            .arg(got.join(to))
            .arg(format!("ftp://{service}/{path}"));
        command.arg("--next").args(["--silent", "--show-error", "--fail", "--max-time", "60"]);
    }
    let sources = format!("{{{0}/a,{0}/b}}", files.path("root").display());
    command.args(mode).arg("--upload-file").arg(sources).arg(format!("ftp://{service}/up/"));
    command
}

/// Whether all came as it was.
fn check(files: &FtpServers, about: &str) {
    for (i, name) in ["a", "b", "c"].into_iter().enumerate() {
        assert!(
            fs::read(files.path("got").join(name)).unwrap() == contents(i),
            "{about}: {name} came otherwise"
        );
    }
    let list = fs::read_to_string(files.path("got/list")).unwrap();
    assert!(list.lines().filter(|line| line.contains(&LEN.to_string())).count() == 3, "{about}: {list}");
    for (i, name) in ["a", "b"].into_iter().enumerate() {
        assert!(
            fs::read(files.path("root/up").join(name)).unwrap() == contents(i),
            "{about}: {name} was put otherwise"
        );
    }
    for folder in ["got", "root/up"] {
        for entry in fs::read_dir(files.path(folder)).unwrap() {
            fs::remove_file(entry.unwrap().path()).unwrap();
        }
    }
}

fn transfer_all(world: &World, files: &FtpServers, services: &[(Family, SocketAddr)], about: &str) {
    for &(family, service) in services {
        for (mode, options) in modes(family) {
            let about = format!("{about}, {mode} at {service}");
            let mut command = transfer(files, service, options, &[]);
            let output = world.client().netns().output(&mut command).unwrap();
            let error = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{about}: {}: {error}", output.status);
            check(files, &about);
        }
    }
}

fn transfers(attach: Attach, way: Way) {
    let _turn = await_turn();
    transfers_in(World::new(way.replies(), attach), way, || Command::new(VSFTPD));
}

fn transfers_in(mut world: World, way: Way, program: impl Fn() -> Command) {
    let addresses: Vec<IpAddr> =
        FAMILIES.into_iter().map(|family| world.server().address_in(family)).collect();
    let files = FtpServers::start(world.server(), &addresses, way.server_port(PORT), program);
    let services: Vec<_> =
        FAMILIES.into_iter().map(|family| (family, world.add("-t", family, PORT, way))).collect();
    transfer_all(&world, &files, &services, "alive");
    assert!(["ftp_rewritten", "ftp_expected"].iter().all(|event| world.daemon.noted(event) > 0));

    // In the middle of the first file.
    let (_, service) = services[0];
    let mut command = transfer(&files, service, MODES[2].1, &["--limit-rate", SLOW]);
    let mut curl = world.client().spawn(&mut command).unwrap();
    let first = files.path("got/a");
    wait_until("the first bytes", LIMIT, || fs::metadata(&first).is_ok_and(|file| file.len() > 0)).unwrap();
    world.daemon.kill();
    assert!(curl.wait().unwrap().success());
    check(&files, "killed in between");

    transfer_all(&world, &files, &services, "dead");
}

#[test]
fn ftp_through_nat_under_tc() {
    transfers(Attach::Tc, Way::NAT);
}

#[test]
fn ftp_through_nat_under_xdp() {
    transfers(Attach::Xdp, Way::NAT);
}

#[test]
fn ftp_through_full_nat_under_tc() {
    transfers(Attach::Tc, Way::FULL_NAT);
}

/// The server takes data from the address of the control connection only.
#[test]
fn ftp_through_full_nat_from_a_pool() {
    let _turn = await_turn();
    let world = full_nat_sources::world(Attach::Tc, &full_nat_sources::POOL);
    transfers_in(world, Way::FULL_NAT, || Command::new(VSFTPD));
}

#[test]
fn ftp_through_full_nat_under_xdp() {
    transfers(Attach::Xdp, Way::FULL_NAT);
}

/// The server opens connections for data to who it takes for its client: it must not be told of another than the director.
#[test]
fn ftp_through_full_nat_beside_an_agent() {
    let _turn = await_turn();
    let world = World::new(Way::FULL_NAT.replies(), Attach::Tc);
    let cgroup = Cgroup::create().unwrap();
    let own = world.cluster.director().interface("to-servers");
    let (v4, v6) = (own.address.unwrap(), own.address_v6.unwrap());
    let call = format!("rvs agent --client-address --director {v4} --director {v6}");
    let _agent = Agent::start(cgroup.path(), &call);
    transfers_in(world, Way::FULL_NAT, || cgroup.command(VSFTPD));
}
