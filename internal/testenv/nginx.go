package testenv

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// nginxConf puts separate services behind one port. What belongs to a long-polling session goes by the client's address;
// everything else to any process. A process that does not take the connection is passed over.
const nginxConf = `daemon off;
master_process off;
pid %[1]s/pid;
error_log stderr warn;
events { worker_connections 2048; }
http {
	access_log off;
	client_max_body_size 2m;
	client_body_temp_path %[1]s/body; proxy_temp_path %[1]s/proxy; fastcgi_temp_path %[1]s/fastcgi;
	uwsgi_temp_path %[1]s/uwsgi; scgi_temp_path %[1]s/scgi;
	upstream user { server 127.0.0.1:%[3]d max_fails=0; keepalive 32; }
	upstream notification { server 127.0.0.1:%[4]d max_fails=0; keepalive 32; }
	upstream chat { %[5]s keepalive 32; }
	upstream polling { hash $remote_addr consistent; %[5]s keepalive 32; }
	map "$arg_transport $arg_sid" $sockets { "websocket " chat; default polling; }
	map $http_upgrade $connection_wanted { "" ""; default upgrade; }
	server {
		listen 127.0.0.1:%[2]d;
		proxy_http_version 1.1;
		proxy_set_header Host $http_host;
		proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
		proxy_set_header Upgrade $http_upgrade;
		proxy_set_header Connection $connection_wanted;
		proxy_connect_timeout 2s;
		proxy_read_timeout 90s;
		proxy_buffering off;
		proxy_request_buffering off;
		location = /readyz { return 200 "ready\n"; }
		location /api/ { proxy_pass http://user; }
		location /api/notifications { proxy_pass http://notification; }
		location /api/chat/ { proxy_pass http://chat; }
		location /api/chat/socket.io/ { proxy_pass http://$sockets; }
	}
}
`

// newNginx prepares nginx in a folder.
func newNginx(dir string, at ports) (*Process, error) {
	path, err := exec.LookPath("nginx")
	if err != nil {
		return nil, errors.New("nginx is missing; install it with `make tools` or: sudo apt-get install -y nginx-light")
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("preparing nginx: %w", err)
	}
	var servers []string
	for _, p := range at.chats {
		servers = append(servers, fmt.Sprintf("server 127.0.0.1:%d max_fails=0;", p))
	}
	conf := filepath.Join(dir, "nginx.conf")
	content := fmt.Sprintf(nginxConf, dir, at.front, at.user, at.notification, strings.Join(servers, " "))
	if err := os.WriteFile(conf, []byte(content), 0o600); err != nil {
		return nil, fmt.Errorf("preparing nginx: %w", err)
	}
	return &Process{Name: "nginx", Path: path, Args: []string{"-p", dir, "-c", conf, "-e", "stderr"}}, nil
}
