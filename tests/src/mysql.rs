//! A private MySQL 9, from the folder of newer servers. It is run as MariaDB is.

use crate::mariadb::Programs;
use crate::newer;

/// Small, and quick to start. The first four count when the data folder is made, too.
const SMALL: [&str; 8] = [
    "--innodb-redo-log-capacity=8M",
    "--innodb-buffer-pool-size=32M",
    "--innodb-data-file-path=ibdata1:5M:autoextend",
    "--secure-file-priv=",
    "--mysqlx=0",
    "--skip-replica-start",
    "--max-connections=50",
    "--plugin-load-add=auth_socket.so",
];

/// Its programs; its `root` needs no password. `None` where they are missing.
pub fn programs(test: &str) -> Option<Programs> {
    let server = newer::program(test, "mysqld")?;
    let client = newer::program(test, "mysql")?;
    let arguments = ["--no-defaults", "--initialize-insecure", "--innodb-flush-method=nosync"];
    let install = std::iter::once(server.clone()).chain(arguments.map(Into::into)).collect();
    Some(Programs { server, client, install, small: &SMALL })
}
