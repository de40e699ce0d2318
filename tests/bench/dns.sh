# The parts of scripts/bench about resolving; read by it, uses its lab and functions.
# Beyond the router far_dns answers every name at 10.99.0.55 with TTL 3600: UDP and TCP 5300, TLS 8853, HTTPS 8443. All
# servers listen on the router's own address, on core 0, one at a time; the load is on core 1 with far_dns.
dns_at=$rules_at
dns_far=10.99.0.55
dns_names=10000
dns_window=128 # what the smallest default receive buffer holds
dns_peers=(unbound dnsdist dnsmasq smartdns)

start_far_dns() { # words for far_dns
	ip -n tg-$lab-wan addr add $dns_far/24 dev eth0 2>/dev/null || true
	[ -s "$dir/far.pem" ] || openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30 \
		-keyout "$dir/far.key" -out "$dir/far.pem" -subj /CN=dns.test -addext subjectAltName=DNS:dns.test 2>/dev/null
	far_end 1 "$programs/far_dns" -t 3600 "$@" $dns_far 5300 8853 8443 "$dir/far.pem" "$dir/far.key"
}
# What the far end has seen since this was asked last → questions, its CPU us each
far_told() {
	kill -USR1 "${far_ends[-1]}"
	sleep 0.1
	tail -1 "$dir/far_dns.out" | awk '{ print $2 + $4 + $6 + $8, $10 }'
}

# --- the servers ---

serve_tungate() { # url of the upstream, words for cache:
	cat > "$dir/tungate.yaml" <<EOF
gateway: { lan: [lan0], intercept: off, workers: 1, watch: 0 }
listen: ["udp://$dns_at:53"]
fakeip: { store: "" }
upstreams: { wan: { servers: ["$1"], ca: $dir/far.pem } }
egress: { direct: { type: direct, upstream: wan } }
cache: { size: 200k, ${2:-max_ttl: 1d} }
rules:
  - { name: rest, answer: real, upstream: wan }
control: { socket: $dir/sock }
EOF
	server=("$bin/tungate" run -c "$dir/tungate.yaml")
}
serve_unbound() { # udp|tls
	cat > "$dir/server.conf" <<EOF
server:
	interface: $dns_at
	access-control: 0.0.0.0/0 allow
	username: ""
	chroot: ""
	directory: "$dir"
	pidfile: ""
	use-syslog: no
	do-daemonize: no
	num-threads: 1
	module-config: "iterator"
	msg-cache-size: 128m
	rrset-cache-size: 256m
	outgoing-range: 8192
	num-queries-per-thread: 4096
	so-rcvbuf: 4m
	so-sndbuf: 4m
	tls-cert-bundle: "$dir/far.pem"
remote-control:
	control-enable: no
forward-zone:
	name: "."
	forward-addr: $dns_far@$([ "$1" = tls ] && echo "8853#dns.test" || echo 5300)
	forward-tls-upstream: $([ "$1" = tls ] && echo yes || echo no)
EOF
	server=(/usr/sbin/unbound -d -c "$dir/server.conf")
}
serve_dnsdist() {
	cat > "$dir/server.conf" <<EOF
setSecurityPollSuffix("")
setLocal("$dns_at:53")
setACL("0.0.0.0/0")
setMaxUDPOutstanding(65535)
newServer({address="$dns_far:5300", sockets=16, healthCheckMode="up"})
getServer(0):setUp()
getPool(""):setCache(newPacketCache(200000, {maxTTL=86400}))
EOF
	server=(/usr/bin/dnsdist --supervised --disable-syslog -C "$dir/server.conf")
}
serve_dnsmasq() {
	cat > "$dir/server.conf" <<EOF
listen-address=$dns_at
bind-interfaces
no-resolv
no-hosts
user=root
pid-file=
cache-size=200000
dns-forward-max=10000
server=$dns_far#5300
EOF
	server=(/usr/sbin/dnsmasq -k -C "$dir/server.conf")
}
serve_smartdns() {
	cat > "$dir/server.conf" <<EOF
bind $dns_at:53
server $dns_far:5300
speed-check-mode none
dualstack-ip-selection no
response-mode fastest-response
cache-size 200000
cache-persist no
serve-expired no
log-level error
log-file $dir/smartdns.log
EOF
	server=(/usr/sbin/smartdns -f -c "$dir/server.conf" -p "$dir/server.pid")
}
serve_echo() { server=("$programs/answerer" $dns_at 53); }

start_dns() { # name, words for its serve_
	"serve_$1" "${@:2}"
	ip netns exec "$gw" taskset -c 0 "${server[@]}" > "$dir/server.log" 2>&1 &
	pid=$!
	for _ in $(seq 100); do
		cl dig +short +time=1 +tries=1 @$dns_at first.far.example.net A 2>/dev/null | grep -qE '^[0-9.]+$' && return 0
		kill -0 "$pid" 2>/dev/null || break
		sleep 0.05
	done
	echo "$1 does not answer: $(tail -2 "$dir/server.log")" >&2
	end_dns
	return 1
}
end_dns() {
	local left=100
	[ -n "$pid" ] || return 0
	kill "$pid" 2>/dev/null || true
	while kill -0 "$pid" 2>/dev/null && [ $((left--)) -gt 0 ]; do sleep 0.05; done
	kill -9 "$pid" 2>/dev/null || true
	wait "$pid" 2>/dev/null || true
	pid=
}

# Of the server whose pid is at hand.
dns_rate() { # words for load behind the window → answers a second, lost, wrong, CPU us an answer
	local before after
	before=$(cpu_ns "$pid")
	cl taskset -c 1 "$programs/load" $dns_at "$seconds" $dns_window "$@" > "$dir/rate"
	after=$(cpu_ns "$pid")
	awk -v ns=$((after - before)) -v s="$seconds" '{ printf "%s %s %s %.2f\n", $1, $2, $3, $1 ? ns / 1e3 / ($1 * s) : 0 }' "$dir/rate"
}
fill_cache() { # file of names, each asked until it has been answered once
	cl taskset -c 1 "$programs/load" $dns_at 0 64 file "$1" found > "$dir/filled"
}
asked_for_each() { awk -v asked="$1" -v rate="$2" -v s="$seconds" 'BEGIN { printf "%.2f\n", rate ? asked / (rate * s) : 0 }'; }
# A peer that did not start has no values; that the gateway does not start ends the run.
dns_column() { if [ -s "$dir/dns.$1" ]; then cut -d' ' -f"$2" "$dir/dns.$1" | median; else echo 0; fi; }

# --- the parts ---

# The gateway's table and rules, while it runs; and then without it, for what stands behind the same.
save_tables() {
	copy_table
	gw ip rule | sed -nE '/lookup (main|local|default)/!s/^([0-9]+):[[:space:]]*/pref \1 /p' > "$dir/ip.rules"
}
each_rule() { # add|del
	local rule
	while read -r rule; do
		# shellcheck disable=SC2086 # words are words
		gw ip rule "$1" $rule
	done < "$dir/ip.rules"
}
put_tables() { gw nft -f "$dir/table.nft"; each_rule add; }
drop_tables() { gw nft delete table inet tungate; each_rule del; }

# The echo stands behind the tables of the gateway, as in `tun` and `tproxy`, and alone.
hits() {
	local i name rate lost wrong us servers=(tungate "behind the tables" echo "${dns_peers[@]}")
	rm -f "$dir"/dns.*
	: > "$dir/ratios"
	start_far_dns
	seq -f 'h%.0f.far.example.net' $dns_names > "$dir/hits.names"
	for i in $(seq "$rounds"); do
		for name in "${servers[@]}"; do
			case $name in
			tungate) start_dns tungate "udp://$dns_far:5300"; save_tables ;;
			behind*) put_tables; start_dns echo ;;
			*) start_dns "$name" udp || continue ;;
			esac
			fill_cache "$dir/hits.names"
			fill_cache "$dir/hits.names" # what was lost
			read -r rate lost wrong us <<< "$(dns_rate file "$dir/hits.names" found)"
			end_dns
			[ "$name" != "behind the tables" ] || drop_tables
			echo "hits round $i: ${name/#behind/echo behind} $rate answers/s, CPU $us us each, $lost lost, $wrong wrong"
			echo "$rate $us" >> "$dir/dns.$name"
		done
		ratio "$(tail -1 "$dir/dns.tungate" | cut -d' ' -f1)" "$(tail -1 "$dir/dns.behind the tables" | cut -d' ' -f1)" >> "$dir/ratios"
	done
	end_far_ends
	for name in "${servers[@]}"; do
		echo "hits: ${name/#behind/echo behind} $(dns_column "$name" 1) answers/s, CPU $(dns_column "$name" 2) us each"
	done
	sum_up hits "$dir/ratios" "of the echo behind the same tables" at-least 0.90
	for name in echo "${dns_peers[@]}"; do
		[ -s "$dir/dns.$name" ] || continue
		echo "hits: $(ratio "$(dns_column tungate 1)" "$(dns_column "$name" 1)") of $name"
	done
}

# New names only: each is asked upstream.
misses() {
	local i name rate lost wrong us asked far_us aim
	rm -f "$dir"/dns.*
	start_far_dns
	for i in $(seq "$rounds"); do
		for name in tungate "${dns_peers[@]}"; do
			case $name in
			tungate) start_dns tungate "udp://$dns_far:5300" ;;
			*) start_dns "$name" udp || continue ;;
			esac
			far_told >/dev/null
			read -r rate lost wrong us <<< "$(dns_rate far.example.net 0 "m$i-$name-")"
			read -r asked far_us <<< "$(far_told)"
			end_dns
			echo "misses round $i: $name $rate answers/s, CPU $us us each, $lost lost, $wrong wrong, $(asked_for_each "$asked" "$rate") questions upstream for each (the far end's CPU $far_us us)"
			echo "$rate $us" >> "$dir/dns.$name"
		done
	done
	end_far_ends
	for name in tungate "${dns_peers[@]}"; do
		echo "misses: $name $(dns_column "$name" 1) answers/s, CPU $(dns_column "$name" 2) us each"
	done
	while read -r name aim; do
		[ -s "$dir/dns.$name" ] || continue
		ratio "$(dns_column tungate 1)" "$(dns_column "$name" 1)" > "$dir/values"
		sum_up misses "$dir/values" "of $name" at-least "$aim"
	done <<EOF
dnsmasq 1.5
dnsdist 1
EOF
}

encrypted() { # dot|doh, url
	local i name rate lost wrong us asked far_us
	rm -f "$dir"/dns.*
	start_far_dns
	for i in $(seq "$rounds"); do
		for name in tungate unbound; do
			case $name in
			tungate) start_dns tungate "$2" ;;
			*) start_dns unbound tls || continue ;; # it has no DNS over HTTPS upstream
			esac
			dns_rate far.example.net 0 "w$i-" >/dev/null # connections stand
			far_told >/dev/null
			read -r rate lost wrong us <<< "$(dns_rate far.example.net 0 "m$i-")"
			read -r asked far_us <<< "$(far_told)"
			end_dns
			echo "$1 round $i: $name $rate answers/s, CPU $us us each, $lost lost, $wrong wrong, $(asked_for_each "$asked" "$rate") questions upstream for each (the far end's CPU $far_us us)"
			echo "$us $rate" >> "$dir/dns.$name"
		done
	done
	end_far_ends
	echo "$1: unbound over TLS $(dns_column unbound 1) us of CPU an answer, $(dns_column unbound 2) answers/s"
	cut -d' ' -f1 "$dir/dns.tungate" > "$dir/values"
	echo "$1: tungate $(dns_column tungate 2) answers/s"
	sum_up "$1" "$dir/values" "us of CPU an answer" at-most 33
}
dot() { encrypted dot "tls://$dns_far:8853@dns.test"; }
doh() { encrypted doh "https://$dns_far:8443/dns-query@dns.test"; }

# Both at once, asked in turn: what else the machine does meets both.
latency() {
	local i forwarder own plain port prefix
	start_far_dns
	ip netns exec "$gw" taskset -c 0 "$programs/forward_dns" $dns_at 5353 $dns_far 5300 > "$dir/forward_dns.out" &
	forwarder=$!
	far_ends+=("$forwarder")
	wait_ready forward_dns "$forwarder"
	start_dns tungate "udp://$dns_far:5300"
	: > "$dir/values"
	for i in $(seq $((rounds * 5))); do
		for port in 53 5353; do
			prefix=l$i-
			cl taskset -c 1 "$programs/latency" $dns_at $port 1000 1000 far.example.net "$prefix" > "$dir/latency.$port"
		done
		own=$(cut -d' ' -f1 "$dir/latency.53") plain=$(cut -d' ' -f1 "$dir/latency.5353")
		echo "latency round $i: gateway $own us (p99 $(cut -d' ' -f2 "$dir/latency.53")), minimal forwarder $plain (p99 $(cut -d' ' -f2 "$dir/latency.5353"))"
		minus "$own" "$plain" >> "$dir/values"
	done
	end_dns
	end_far_ends
	sum_up latency "$dir/values" "us above a minimal forwarder" at-most 30
}

cache() {
	local i before after entries
	start_far_dns
	seq -f 'c%.0f.far.example.net' 100000 > "$dir/cache.names"
	: > "$dir/values"
	for i in $(seq "$rounds"); do
		start_dns tungate "udp://$dns_far:5300"
		dns_rate warm.example.net 1 >/dev/null # what its first questions take is not the cache's
		before=$(resident_bytes "$pid")
		fill_cache "$dir/cache.names"
		after=$(resident_bytes "$pid")
		entries=$("$bin/tungate" status -s "$dir/sock" --json | sed -n 's/.*"entries": *\([0-9]*\).*/\1/p' | head -1)
		end_dns
		echo "cache round $i: $entries answers, resident $((before / 1024)) -> $((after / 1024)) kB, $((entries ? (after - before) / entries : 0)) bytes each"
		awk -v b=$((after - before)) 'BEGIN { printf "%.1f\n", b / 1e6 }' >> "$dir/values"
	done
	end_far_ends
	sum_up cache "$dir/values" "MB for 100,000 answers" at-most 25
}

# What far_dns leaves out stands for 1 % lost on either way.
loss() {
	local i p50 p99 p999 slowest lost wrong
	start_far_dns -l 20
	: > "$dir/values"
	for i in $(seq "$rounds"); do
		start_dns tungate "udp://$dns_far:5300"
		cl taskset -c 1 "$programs/latency" $dns_at 53 5000 500 far.example.net "p$i-" > "$dir/latency.53"
		read -r p50 p99 p999 slowest lost wrong < "$dir/latency.53"
		end_dns
		echo "loss round $i: p50 $p50, p99 $p99, p99.9 $p999, slowest $slowest us, $lost without an answer, $wrong wrong"
		awk -v us="$p99" 'BEGIN { printf "%.1f\n", us / 1e3 }' >> "$dir/values"
	done
	end_far_ends
	sum_up loss "$dir/values" "ms p99 with 1 % lost" at-most 500
}
