# The parts of scripts/bench about traffic to fake addresses; read by it, uses its lab and functions.
# Beyond the router, in wan: far_socks (10.99.0.2:1080, plain 1081) for bulk and datagrams, far_echo (10.99.0.2:1084,
# with SOCKS5 1085) for connections, iperf3 on web.test (10.99.0.10:5201). Each limit is measured with the gateway
# stopped, so that its tables cost the limit nothing.
limit_address=198.51.100.1 # what the limits stand behind; nothing else is there
far_ends=()

far_end() { # core or "", program, argument...
	local core=$1 name
	name=$(basename "$2")
	shift
	# shellcheck disable=SC2086 # words are words
	ip netns exec tg-$lab-wan $urgent ${core:+taskset -c "$core"} "$@" > "$dir/$name.out" 2>&1 &
	far_ends+=($!)
	[ "$name" = iperf3 ] || wait_ready "$name" $!
}
end_far_ends() {
	local far
	for far in "${far_ends[@]}"; do end "$far"; done
	far_ends=()
}
wait_ready() { # name of the output, pid
	for _ in $(seq 100); do
		grep -qs ready "$dir/$1.out" && return 0
		kill -0 "$2" || return 1
		sleep 0.02
	done
	return 1
}

configure_carry() { # workers
	cat > "$dir/tungate.yaml" <<EOT
gateway: { lan: [lan0], workers: $1 }
fakeip: { store: $dir/fakeip.db }
upstreams: { wan: { servers: ["udp://10.99.0.53:53"], rebind: allow } }
egress:
  direct: { type: direct, upstream: wan }
  bulk: { type: socks5, server: "10.99.0.2:1080", upstream: wan }
  quick: { type: socks5, server: "10.99.0.2:1085", upstream: wan }
rules:
  - { name: direct, domain: [web.test], answer: fake, egress: direct }
  - { name: quick, domain: [quick.test], answer: fake, egress: quick }
  - { name: rest, answer: fake, egress: bulk }
control: { socket: $dir/sock }
EOT
}
fake() { cl dig +short +time=2 @8.8.8.8 "$1" A | head -1; }

# What begins here stands behind tproxy at limit_address, as the plainest relay would, on a router that tracks
# connections as every router does (a NAT chain makes it).
start_limit() { # core or "", program, argument...
	local core=$1 name
	name=$(basename "$2")
	shift
	ip netns exec "$gw" ${core:+taskset -c "$core"} "$@" > "$dir/$name.out" 2>&1 &
	pid=$!
	wait_ready "$name" "$pid"
	gw ip rule add pref 901 fwmark 0x40000000/0x40000000 lookup 199
	gw ip route add local default dev lo table 199
	gw nft -f - <<EOT
table inet bench {
	chain in {
		type filter hook prerouting priority raw
		iifname "lan0" ip daddr $limit_address meta l4proto tcp tproxy ip to 127.0.0.1:7000 notrack meta mark set 0x40000000 accept
	}
	chain out {
		type filter hook output priority raw
		ip saddr $limit_address notrack
	}
	chain nat { type nat hook postrouting priority srcnat; }
}
EOT
}
end_limit() {
	end "$pid"
	pid=
	gw nft delete table inet bench
	gw ip rule del pref 901
	gw ip route flush table 199
}
end_gateway() { end "$pid"; pid=; }

reached() { # value, at-least|at-most, aim
	awk -v v="$1" -v how="$2" -v aim="$3" 'BEGIN { print (how == "at-least" ? v >= aim : v <= aim) ? "reached" : "NOT reached" }'
}
sum_up() { # what, file of values, text, at-least|at-most, aim
	local value
	value=$(median < "$2")
	echo "$1: $value $3 (aim $5: $(reached "$value" "$4" "$5"))"
}

# --- throughput ---

mbits() { # address, streams, up|down → megabits a second, bytes
	local try
	for try in 1 2 3; do
		cl iperf3 -c "$1" -t "$seconds" -P "$2" $([ "$3" = down ] && echo -R) -J > "$dir/iperf.json" 2>/dev/null && break
		sleep 0.3 # the server may not be done with the last one yet
	done
	/usr/bin/python3 -c '
import json, sys
end = json.load(open(sys.argv[1]))["end"]["sum_received"]
print(round(end["bits_per_second"] / 1e6), round(end["bytes"]))' "$dir/iperf.json"
}

direct() {
	local i own limit address direction
	far_end "" iperf3 -s -B 10.99.0.10
	for direction in up down; do
		: > "$dir/ratios"
		for i in $(seq "$rounds"); do
			configure_carry 2
			start_gateway 0,1
			address=$(fake web.test)
			mbits "$address" 1 up >/dev/null # the first packet decides
			read -r own _ <<< "$(mbits "$address" 1 $direction)"
			end_gateway
			gw nft -f - <<EOT
table inet bench {
	map to { type ipv4_addr : ipv4_addr; flags timeout; elements = { 198.18.9.9 timeout 1h : 10.99.0.10 } }
	chain in { type nat hook prerouting priority dstnat; ip daddr 198.18.0.0/15 dnat ip to ip daddr map @to; }
}
EOT
			mbits 198.18.9.9 1 up >/dev/null
			read -r limit _ <<< "$(mbits 198.18.9.9 1 $direction)"
			gw nft delete table inet bench
			echo "direct $direction round $i: gateway $own, DNAT map without it $limit Mbit/s, ratio $(ratio "$own" "$limit")"
			ratio "$own" "$limit" >> "$dir/ratios"
		done
		sum_up "direct $direction" "$dir/ratios" "of a DNAT map alone" at-least 0.95
	done
	end_far_ends
}

# Of the program whose pid is at hand, over one run.
costed() { # address, streams, up|down → megabits a second, CPU seconds a gigabyte
	local before after rate bytes
	before=$(cpu_ticks "$pid")
	read -r rate bytes <<< "$(mbits "$@")"
	after=$(cpu_ticks "$pid")
	awk -v r="$rate" -v t=$((after - before)) -v hz="$(getconf CLK_TCK)" -v b="$bytes" 'BEGIN { printf "%d %.2f\n", r, t / hz / (b / 1e9) }'
}
relay_plain() { # copy|splice, streams, up|down
	start_limit "" "$programs/relay_plain" 127.0.0.1 7000 10.99.0.2 1081 "$1"
	costed "$limit_address" "$2" "$3"
	end_limit
}
relay() {
	local i own own_cpu copy copy_cpu splice splice_cpu best streams direction
	far_end "" iperf3 -s -B 10.99.0.10
	far_end "" "$programs/far_socks" 10.99.0.2 1080 10.99.0.10 5201
	for streams in 1 64; do
		for direction in up down; do
			: > "$dir/ratios"
			for i in $(seq "$rounds"); do
				configure_carry 2
				start_gateway 0,1
				read -r own own_cpu <<< "$(costed "$(fake bulk.test)" "$streams" $direction)"
				end_gateway
				relay_plain copy "$streams" $direction > "$dir/plain.out"
				read -r copy copy_cpu < "$dir/plain.out"
				relay_plain splice "$streams" $direction > "$dir/plain.out"
				read -r splice splice_cpu < "$dir/plain.out"
				best=$((copy > splice ? copy : splice))
				echo "relay $streams $direction round $i: gateway $own Mbit/s ($own_cpu CPU s/GB), plain relay by copy $copy ($copy_cpu), by splice $splice ($splice_cpu), ratio $(ratio "$own" $best)"
				ratio "$own" $best >> "$dir/ratios"
			done
			sum_up "relay $streams $direction" "$dir/ratios" "of the better plain relay" at-least 0.95
		done
	done
	end_far_ends
}

# --- connections ---

# Of the program whose pid is at hand, with the load on the other core.
rate() { # address, port → connections a second, failed, p50 us, p99 us, CPU us a connection
	local before after
	before=$(cpu_ticks "$pid")
	cl taskset -c 1 "$programs/connects" rate "$1" "$2" "$seconds" 64 > "$dir/rate"
	after=$(cpu_ticks "$pid")
	awk -v t=$((after - before)) -v hz="$(getconf CLK_TCK)" -v s="$seconds" '{ printf "%s %.0f\n", $0, $1 ? t / hz * 1e6 / ($1 * s) : 0 }' "$dir/rate"
}
# The far end is where there is room. Go programs reached 0.244 of a direct connection's figure.
connect() {
	local i own own50 own99 own_cpu least least50 least99 least_cpu direct direct50 direct99 failed
	far_end "" "$programs/far_echo" 10.99.0.2 1084
	: > "$dir/ratios"
	: > "$dir/of_direct"
	: > "$dir/p99"
	for i in $(seq "$rounds"); do
		configure_carry 1
		start_gateway 0
		read -r own failed own50 own99 own_cpu <<< "$(rate "$(fake quick.test)" 80)"
		end_gateway
		start_limit 0 "$programs/relay_minimal" 127.0.0.1 7000 10.99.0.2 1085
		read -r least _ least50 least99 least_cpu <<< "$(rate "$limit_address" 80)"
		read -r direct _ direct50 direct99 _ <<< "$(rate 10.99.0.2 1084)"
		end_limit
		echo "connect round $i: gateway $own a second (p50 $own50, p99 $own99, CPU $own_cpu us, $failed failed), minimal relay $least (p50 $least50, p99 $least99, CPU $least_cpu us), direct $direct (p50 $direct50, p99 $direct99), ratio $(ratio "$own" "$least")"
		ratio "$own" "$least" >> "$dir/ratios"
		ratio "$own" "$direct" >> "$dir/of_direct"
		echo "$own99" >> "$dir/p99"
	done
	sum_up connect "$dir/ratios" "of the minimal relay" at-least 0.7
	sum_up connect "$dir/of_direct" "of a direct connection's, three times what Go programs reach" at-least 0.73
	sum_up "connect p99" "$dir/p99" us at-most 10000
	end_far_ends
}

descriptors() { find "/proc/$1/fd" -type l | wc -l; }
pipes() { find "/proc/$1/fd" -lname 'pipe:*' | wc -l; }
resident_bytes() { echo $(($(rss "$1") * 1024)); }
idle() {
	local count=4000 before after files_before files_after pipes_before pipes_after held each
	far_end 1 "$programs/far_echo" 10.99.0.2 1084
	configure_carry 1
	start_gateway 0
	before=$(resident_bytes "$pid") files_before=$(descriptors "$pid") pipes_before=$(pipes "$pid")
	mkfifo "$dir/hold"
	cl "$programs/connects" hold "$(fake quick.test)" 80 $count < "$dir/hold" > "$dir/held" &
	held=$!
	exec 9> "$dir/hold"
	for _ in $(seq 300); do
		[ -s "$dir/held" ] && break
		sleep 0.1
	done
	sleep 1
	after=$(resident_bytes "$pid") files_after=$(descriptors "$pid") pipes_after=$(pipes "$pid")
	exec 9>&-
	wait $held
	each=$(((after - before) / count))
	echo "idle: $(cat "$dir/held") of $count connections held, resident $((before / 1024)) -> $((after / 1024)) kB, descriptors $files_before -> $files_after"
	echo "idle: $each bytes a connection (aim 2048: $(reached $each at-most 2048))"
	echo "idle: $((pipes_after - pipes_before)) pipe ends held (aim 0: $(reached $((pipes_after - pipes_before)) at-most 0))"
	end_gateway
	end_far_ends
}

one() { # core, part of the lab, address, port, count [socks]
	scripts/lab exec $lab "$2" taskset -c "$1" "$programs/connects" one "${@:3}"
}
syn() {
	local i address relayed proxy handshake direct plain count=2000
	far_end 1 "$programs/far_echo" 10.99.0.2 1084
	: > "$dir/above_handshake"
	: > "$dir/above"
	: > "$dir/above_direct"
	for i in $(seq "$rounds"); do
		configure_carry 1
		start_gateway 0
		read -r relayed _ <<< "$(one 1 cl "$(fake quick.test)" 80 $count)"
		address=$(fake web.test)
		one 1 cl "$address" 80 1 >/dev/null # the first packet decides
		read -r direct _ <<< "$(one 1 cl "$address" 80 $count)"
		end_gateway
		read -r handshake _ <<< "$(one 0 gw 10.99.0.2 1085 $count socks)"
		read -r proxy _ <<< "$(one 1 cl 10.99.0.2 1085 $count)"
		read -r plain _ <<< "$(one 1 cl 10.99.0.10 80 $count)"
		echo "syn round $i: relayed $relayed us, the proxy with its handshake from the gateway $handshake, without it from the client $proxy; direct $direct, its place itself $plain"
		echo $((relayed - handshake)) >> "$dir/above_handshake"
		echo $((relayed - proxy)) >> "$dir/above"
		echo $((direct - plain)) >> "$dir/above_direct"
	done
	sum_up "syn relayed" "$dir/above_handshake" "us above what the gateway's own connection through the proxy takes" at-most 100
	sum_up "syn relayed" "$dir/above" "us above the client's bare connection to the proxy" at-most 100
	sum_up "syn direct" "$dir/above_direct" "us above connecting to its place" at-most 100
	end_far_ends
}

# --- datagrams ---

# Of the program whose pid is at hand, with the load and the far end on the other core.
datagrams() { # address, port → there and back a second, lost, CPU us each
	local before after
	before=$(cpu_ticks "$pid")
	cl taskset -c 1 "$programs/datagrams" "$1" "$2" "$seconds" 64 4 200 > "$dir/rate"
	after=$(cpu_ticks "$pid")
	awk -v t=$((after - before)) -v hz="$(getconf CLK_TCK)" -v s="$seconds" '{ printf "%s %.1f\n", $0, $1 ? t / hz * 1e6 / ($1 * s) : 0 }' "$dir/rate"
}
forward_plain() { # datagrams a call
	ip netns exec "$gw" taskset -c 0 "$programs/forward_plain" 192.168.77.1 7000 10.99.0.2 1081 "$1" > "$dir/forward_plain.out" &
	pid=$!
	wait_ready forward_plain "$pid"
	datagrams 192.168.77.1 7000
	end "$pid"
	pid=
}
udp() {
	local i own own_cpu lost single single_cpu batched batched_cpu
	far_end 1 "$programs/far_socks" 10.99.0.2 1080 10.99.0.10 5201
	: > "$dir/ratios"
	for i in $(seq "$rounds"); do
		configure_carry 1
		start_gateway 0
		read -r own lost own_cpu <<< "$(datagrams "$(fake bulk.test)" 7)"
		end_gateway
		forward_plain 1 > "$dir/plain.out"
		read -r single _ single_cpu < "$dir/plain.out"
		forward_plain 64 > "$dir/plain.out"
		read -r batched _ batched_cpu < "$dir/plain.out"
		echo "udp round $i: gateway $own there and back a second (CPU $own_cpu us, $lost lost), plain forwarder $single ($single_cpu us), with recvmmsg $batched ($batched_cpu us), ratios $(ratio "$own" "$single") $(ratio "$own" "$batched")"
		ratio "$own" $((single > batched ? single : batched)) >> "$dir/ratios"
	done
	sum_up udp "$dir/ratios" "of the better plain forwarder" at-least 0.5
	end_far_ends
}

# --- the table ---

table() {
	local i
	: > "$dir/table"
	for i in $(seq "$rounds"); do
		# All that the default pool holds, in random order; and as many as a cache keeps.
		taskset -c 1 "$programs/bench_fakeip" 131000 > "$dir/table.round"
		taskset -c 1 "$programs/bench_fakeip" 10000 | sed -n 's/^lookup_ns/cached_lookup_ns/p' >> "$dir/table.round"
		echo "table round $i: $(tr '\n' ' ' < "$dir/table.round")"
		cat "$dir/table.round" >> "$dir/table"
	done
	while read -r name unit aim; do
		awk -v n="$name" '$1 == n { print $2 }' "$dir/table" > "$dir/values"
		sum_up "table $name" "$dir/values" "$unit" at-most "$aim"
	done <<EOT
assign_ns ns 1000
lookup_ns ns 100
cached_lookup_ns ns 100
bytes_a_mapping bytes 100
load_ms ms 50
EOT
}
