//! The ports at which FTP's control connections are listened to.

use rvs_abi::limits;
use rvs_model::{Memory, records};

use crate::director::Director;
use crate::programs;

impl<M: Memory> Director<M> {
    /// Tells the programs at which virtual ports FTP's control connections are listened to (ipvs.md §12.1): the first
    /// [`limits::FTP_PORTS`] of them. Connections that are there already stay as they are.
    pub fn set_ftp_ports(&mut self, ports: &[u16]) {
        let mut config = records::config(&self.memory);
        config.ftp_ports = [0; limits::FTP_PORTS];
        for (place, port) in config.ftp_ports.iter_mut().zip(ports) {
            *place = port.to_be();
        }
        records::write_config(&self.memory, &config);
        self.state.ftp_ports = programs::ftp_ports(&config);
    }
}

#[cfg(test)]
mod tests {
    use rvs_model::{Capacity, Heap};

    use super::*;

    #[test]
    fn ports_stand_as_they_do_in_a_packet() {
        let mut director =
            Director::create(Heap::new(&Capacity { services: 4, dests: 256, conns: 100, cpus: 1 }))
                .expect("an empty heap");
        director.set_ftp_ports(&[21, 2121]);
        let ports =
            |director: &Director<Heap>| records::config(director.memory()).ftp_ports.map(u16::to_ne_bytes);
        assert_eq!(ports(&director), [[0, 21], [8, 73]]);
        director.set_ftp_ports(&[]);
        assert_eq!(ports(&director), [[0; 2]; 2]);
    }
}
