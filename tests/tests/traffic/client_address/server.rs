//! nginx as it comes from its package, in a control group of its own. It answers with what it takes for the client's address,
//! and logs it.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Stdio, id};
use std::sync::atomic::{AtomicU32, Ordering};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rvs_netlink::Netns;
use rvs_testkit::{Cgroup, wait_until};

use crate::stage::LIMIT;

/// What all have in common; the servers and the end of it follow.
const CONFIG: &str = "\
daemon off;
worker_processes 1;
pid nginx.pid;
error_log error.log;
events {}
http {
  log_format peer '$remote_addr $remote_port';
  access_log access.log peer;
  client_body_temp_path tmp;
  proxy_temp_path tmp;
  fastcgi_temp_path tmp;
  uwsgi_temp_path tmp;
  scgi_temp_path tmp;
";

/// IPv4 and IPv6 sockets of their own; one IPv6 socket for both; sockets that wait for data before they accept.
const SERVERS: &str = "\
  server {
    listen 80;
    listen [::]:80;
    listen [::]:81 ipv6only=off;
    listen 82 deferred;
    location / { return 200 '$remote_addr $remote_port'; }
  }
";

/// A running nginx.
#[derive(Debug)]
pub(crate) struct Nginx {
    child: Child,
    folder: PathBuf,
}

impl Nginx {
    /// Starts it and waits until it listens.
    pub(crate) fn start(netns: &Netns, cgroup: &Cgroup) -> Self {
        Self::with_servers(netns, cgroup, SERVERS)
    }

    /// Likewise, with these servers in its configuration.
    pub(crate) fn with_servers(netns: &Netns, cgroup: &Cgroup, servers: &str) -> Self {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("rvs-nginx-{}-{number}", id()));
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("nginx.conf"), format!("{CONFIG}{servers}}}\n")).unwrap();
        let mut command = cgroup.command("nginx");
        command.arg("-p").arg(&folder).args(["-e", "error.log", "-c", "nginx.conf"]).stdin(Stdio::null());
        let child = netns.spawn(&mut command).unwrap();
        let mut nginx = Self { child, folder };
        // It is written after the sockets are there.
        let pid = nginx.folder.join("nginx.pid");
        let listens = wait_until("nginx", LIMIT, || {
            let ended = nginx.child.try_wait().unwrap();
            assert!(ended.is_none(), "{ended:?}: {}", nginx.read("error.log"));
            fs::read_to_string(&pid).is_ok_and(|text| text.ends_with('\n'))
        });
        listens.unwrap_or_else(|e| panic!("{e}: {}", nginx.read("error.log")));
        nginx
    }

    /// Its log of requests.
    pub(crate) fn log(&self) -> String {
        self.read("access.log")
    }

    /// A file below its folder, which is gone afterwards.
    pub(crate) fn take(&self, name: &str) -> Vec<u8> {
        let path = self.folder.join(name);
        let bytes = fs::read(&path).unwrap_or_else(|e| panic!("{name}: {e}: {}", self.read("error.log")));
        fs::remove_file(path).unwrap();
        bytes
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.folder.join(name)).unwrap_or_default()
    }
}

impl Drop for Nginx {
    /// By a signal that it passes on to its worker; both are in a control group that is killed otherwise.
    fn drop(&mut self) {
        let pid = i32::try_from(self.child.id()).unwrap();
        kill(Pid::from_raw(pid), Signal::SIGTERM).ok();
        let ended = wait_until("the end of nginx", LIMIT, || !matches!(self.child.try_wait(), Ok(None)));
        drop(ended.map_err(|_| self.child.kill()));
        self.child.wait().ok();
        fs::remove_dir_all(&self.folder).ok();
    }
}
