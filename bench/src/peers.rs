//! What people would take instead, each as its users run it, from Debian's packages.

use std::fs;
use std::path::Path;

use anyhow::Result;
use stack::{Part, ports, workspace};

/// Where Debian keeps nginx' modules.
const NGINX_MODULES: &str = "/usr/lib/nginx/modules";

/// What a report says where they are not installed.
pub(crate) const NO_WEBDIS: &str = "webdis is not installed (`apt-get install webdis`)";
pub(crate) const NO_NCHAN: &str =
    "nginx with its module nchan is not installed (`apt-get install nginx libnginx-mod-nchan`)";

/// `webdis`: plain commands over HTTP. Threads and connections are those of Debian's own configuration.
/// `None`: it is not installed.
pub(crate) async fn webdis(dir: &Path, redis_port: u16) -> Result<Option<Part>> {
    let Some(path) = workspace::find_program("webdis") else { return Ok(None) };
    let port = ports::free()?;
    let config = serde_json::json!({
        "redis_host": "127.0.0.1", "redis_port": redis_port, "http_host": "127.0.0.1", "http_port": port,
        "threads": 5, "pool_size": 20, "daemonize": false, "websockets": false, "database": 0, "verbosity": 2,
        "logfile": dir.join("webdis.own.log"),
    });
    let file = dir.join("webdis.json");
    fs::write(&file, config.to_string())?;
    let url = format!("http://127.0.0.1:{port}");
    let mut part = Part::foreign("webdis", url.clone(), format!("{url}/PING"), path, &[&file.to_string_lossy()], dir);
    part.start().await?;
    Ok(Some(part))
}

/// `nchan` in nginx, with Redis behind it, set up for what is measured: to pass messages on. By default it also keeps each in
/// Redis and in its own memory, for who comes later. `/sub` and `/pub` are one channel.
/// `None`: it is not installed.
pub(crate) async fn nchan(dir: &Path, redis_port: u16, subscribers: usize) -> Result<Option<Part>> {
    let module = Path::new(NGINX_MODULES).join("ngx_nchan_module.so");
    let Some(path) = workspace::find_program("nginx").filter(|_| module.is_file()) else { return Ok(None) };
    let port = ports::free()?;
    let (connections, dir_name) = (2 * subscribers + 64, dir.display());
    let config = format!(
        "load_module {};
         worker_processes auto;
         daemon off;
         pid {dir_name}/nginx.pid;
         error_log {dir_name}/nginx.error.log warn;
         events {{ worker_connections {connections}; }}
         http {{
             access_log off;
             client_body_temp_path {dir_name}/body;
             upstream redis {{
                 nchan_redis_server redis://127.0.0.1:{redis_port};
                 nchan_redis_storage_mode nostore;
                 nchan_redis_nostore_fastpublish on;
             }}
             server {{
                 listen 127.0.0.1:{port};
                 location = /health {{ return 200; }}
                 location = /pub {{
                     nchan_publisher;
                     nchan_channel_id bench;
                     nchan_redis_pass redis;
                     nchan_store_messages off;
                 }}
                 location = /sub {{
                     nchan_subscriber eventsource;
                     nchan_channel_id bench;
                     nchan_redis_pass redis;
                     nchan_subscriber_first_message newest;
                 }}
             }}
         }}",
        module.display()
    );
    let file = dir.join("nginx.conf");
    fs::write(&file, config)?;
    let url = format!("http://127.0.0.1:{port}");
    let args = ["-e", "stderr", "-c", &file.to_string_lossy()];
    let mut part = Part::foreign("nchan", url.clone(), format!("{url}/health"), path, &args, dir);
    part.start().await?;
    Ok(Some(part))
}
