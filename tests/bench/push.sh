# The parts of scripts/bench about addresses in sets; read by it, uses its lab and functions.
# Beyond the router `answerer` gives each question an address of its own (10.99.0.54:5301, TTL 3600). push_reader asks
# and looks into the sets. The gateway is on core 0, who asks and who answers on core 1.
push_far=10.99.0.54
declare -A push_words=([none]="no set" [s]="nft set" [beside]="nft set in a table with 8,000 ranges" [plain]="nft interval set"
	[ipset]="ipset")

# All sets, new and empty: s, hash0, hash10k and hash100k; ranges and plain, interval sets with and without timeouts;
# concat; the ipset bench.
push_sets() {
	local name
	{
		echo "add table inet bench; delete table inet bench"
		echo "table inet bench {"
		for name in s hash0 hash10k hash100k; do echo "set $name { type ipv4_addr; flags timeout; size 4000000; }"; done
		echo "set ranges { type ipv4_addr; flags interval, timeout; }"
		echo "set plain { type ipv4_addr; flags interval; }"
		echo "set concat { type ipv4_addr . inet_service; flags timeout; size 4000000; }"
		echo "}"
	} > "$dir/sets.nft"
	gw nft -f "$dir/sets.nft"
	gw ipset destroy bench 2>/dev/null || true
	gw ipset create bench hash:ip timeout 600 maxelem 1000000
}
push_fill() { # 10 or 100, thousands of elements for the set of that name
	seq "${1}000" | awk -v n="$1" '
		{ printf "%s40.%d.%d.%d", NR % 1000 == 1 ? "add element inet bench hash" n "k { " : ", ", $1 / 65536, $1 / 256 % 256, $1 % 256 }
		NR % 1000 == 0 { print " }" }' > "$dir/elements.nft"
	gw nft -f "$dir/elements.nft"
}
push_ranges() { # 8,000 for ranges
	seq 8000 | awk '
		{ printf "%s30.%d.%d.10-30.%d.%d.99", NR == 1 ? "add element inet bench ranges { " : ", ", $1 / 256, $1 % 256, $1 / 256, $1 % 256 }
		END { print " }" }' > "$dir/elements.nft"
	gw nft -f "$dir/elements.nft"
}
push_key() { # kind of set → its key in a rule
	case $1 in
	none) ;;
	ipset) echo ', ipset: "4#bench"' ;;
	concat) echo ', nftset: "4#inet#bench#concat = $addr . 443"' ;;
	*) echo ", nftset: \"4#inet#bench#$1\"" ;;
	esac
}
push_text() { # kind of set → as push_reader has it
	case $1 in
	none) echo - ;;
	ipset) echo "ipset#bench" ;;
	concat) echo "nft#bench#concat#01bb0000" ;;
	*) echo "nft#bench#$1" ;;
	esac
}

push_rule() { # name, kind of set, more keys
	echo "  - { name: $1, domain: [$1.test], answer: real, upstream: wan$(push_key "$2")${3:+, $3} }"
}
# With an empty cache and a rule `none`, for none.test, that has no set.
start_push() { # rule...
	cat > "$dir/tungate.yaml" <<EOT
gateway: { lan: [lan0], intercept: tun, workers: 1 }
fakeip: { store: $dir/fakeip.db }
upstreams: { wan: { servers: ["udp://$push_far:5301"], rebind: allow } }
egress: { direct: { type: direct, upstream: wan } }
cache: { size: 200k }
control: { socket: $dir/sock }
rules:
$(push_rule none none)
$(printf '%s\n' "$@")
  - { name: rest, answer: fake, egress: direct }
EOT
	start_gateway 0
}
start_push_far() { far_end 1 "$programs/answerer" $push_far 5301 3600; }
reader() { # words; one line of values for each stream
	# shellcheck disable=SC2086 # words are words
	cl $urgent taskset -c 1 "$programs/push_reader" "$@"
}
third() { awk -v n="$1" -v s="$seconds" 'BEGIN { print n * s / 3 }'; } # so many seconds, where a part has three
in_round() { awk -v n="$1" -v s="$seconds" 'BEGIN { printf "%d\n", n * s }'; } # so many for each second

push_rate() { # rule, prefix → answers a second, CPU us each
	local before
	before=$(cpu_ns "$pid")
	load 8.8.8.8 "$seconds" 256 "$1.test" 0 "$2" > "$dir/rate"
	awk -v ns=$(($(cpu_ns "$pid") - before)) -v s="$seconds" '{ printf "%s %.2f\n", $1, $1 ? ns / 1e3 / ($1 * s) : 0 }' "$dir/rate"
}
push() {
	local i with without with_us without_us
	: > "$dir/ratios"
	: > "$dir/values"
	start_push_far
	push_sets
	start_push "$(push_rule s s)"
	for i in $(seq "$rounds"); do
		read -r without without_us <<< "$(push_rate none a$i)"
		read -r with with_us <<< "$(push_rate s b$i)"
		echo "push round $i: with $with, without $without answers/s, ratio $(ratio "$with" "$without"); CPU $with_us and $without_us us each"
		ratio "$with" "$without" >> "$dir/ratios"
		ratio "$with_us" "$without_us" >> "$dir/values"
	done
	end_gateway
	end_far_ends
	sum_up push "$dir/ratios" "of the same without" at-least 0.5
	echo "push: $(median < "$dir/values") times the CPU of an answer without"
}

# 5,000 new names/s and 20,000 cached ones. What is cached lives for 10 s in the set, so it is renewed now and then.
contract() {
	local i stream got without servfail wrong lost per_s p50 p99 p999 slowest look99 look more="on_error: servfail"
	: > "$dir/contract"
	start_push_far
	for i in $(seq "$rounds"); do
		push_sets
		start_push "$(push_rule new s "$more")" "$(push_rule kept s "$more, set_ttl: 10s")"
		reader -w 64 8.8.8.8 10000 "$gw" - 0:kept.test:10000:c >/dev/null
		reader 8.8.8.8 "$(in_round 111112)" "$gw" "$(push_text s)" 5000:new.test:0:n 20000:kept.test:10000:c > "$dir/read"
		end_gateway
		for stream in new cached; do
			read -r got without servfail wrong lost per_s p50 p99 p999 slowest look99 look
			echo "contract round $i: $stream $got answers ($per_s/s), $without without their element, $servfail SERVFAIL, $wrong wrong, $lost lost;" \
				"p50 $p50, p99 $p99, p99.9 $p999, slowest $slowest us; looked at $look99 us after it came (p99), $look at most"
			echo "$got $without $servfail $((wrong + lost))" >> "$dir/contract"
		done < "$dir/read"
	done
	end_far_ends
	read -r got without servfail lost <<< "$(awk '{ for (i = 1; i <= 4; i++) n[i] += $i } END { print n[1], n[2], n[3], n[4] }' "$dir/contract")"
	echo "contract: $without of $got answers without their element (aim 0: $(reached "$without" at-most 0)), $servfail SERVFAIL, $lost wrong or lost"
}

push_times() { # rate, streams beside it or "", rule, prefix → p50 p99 of the first one's
	reader -s "$(third 0.5)" 8.8.8.8 1000000 "$gw" - "$1:$3.test:0:$4" ${2:+"$2"} | awk 'NR == 1 { print $7, $8 }'
}
push_quiet() { # kind → p99 added, by the quarter of the turns where the machine did least else
	minus "$(quarter < "$dir/added.with.$1")" "$(quarter < "$dir/added.without.$1")"
}
quarter() { sort -n | awk '{ v[NR] = $1 } END { print v[int((NR + 3) / 4)] }'; } # the lower one
# In short turns, without and with: what else the machine does meets both. An interval set is asked for less: it takes
# the kernel long. `beside` is the first hash set while the interval set is pushed, too, against that set alone. All that
# takes part goes before the machine's other processes.
push_latency() {
	local urgent="chrt -f 10" i j kind rate p50 p99 plain50 plain99 kinds=(hash0 hash10k hash100k concat ipset ranges) rules=()
	rm -f "$dir"/added.*
	for kind in "${kinds[@]}"; do rules+=("$(push_rule "$kind" "$kind")"); done
	start_push_far
	for i in $(seq "$rounds"); do
		push_sets
		push_fill 10
		push_fill 100
		push_ranges
		start_push "${rules[@]}"
		push_times 5000 "" none warm >/dev/null
		for j in 1 2 3 4; do
			for kind in "${kinds[@]}" beside; do
				rate=5000
				[ "$kind" != ranges ] || rate=500
				if [ "$kind" = beside ]; then
					read -r plain50 plain99 <<< "$(push_times 5000 "" hash0 "a$j-")"
					read -r p50 p99 <<< "$(push_times 5000 "200:ranges.test:0:b$j-" hash0 "b$j-")"
				else
					read -r plain50 plain99 <<< "$(push_times $rate "" none "$kind$j-")"
					read -r p50 p99 <<< "$(push_times $rate "" "$kind" "n$j-")"
				fi
				echo "push_latency round $i.$j: $kind p50 $p50, p99 $p99 us; without p50 $plain50, p99 $plain99"
				minus "$p50" "$plain50" >> "$dir/added.p50.$kind"
				minus "$p99" "$plain99" >> "$dir/added.p99.$kind"
				echo "$p99" >> "$dir/added.with.$kind"
				echo "$plain99" >> "$dir/added.without.$kind"
			done
		done
		end_gateway
	done
	end_far_ends
	for kind in "${kinds[@]}" beside; do
		case $kind in
		hash*)
			sum_up "push_latency $kind" "$dir/added.p50.$kind" "us added, median" at-most 40
			sum_up "push_latency $kind" "$dir/added.p99.$kind" "us added, p99; $(push_quiet "$kind") of the quiet turns" at-most 500
			;;
		*) echo "push_latency $kind: $(median < "$dir/added.p50.$kind") us added, median; $(median < "$dir/added.p99.$kind") p99; $(push_quiet "$kind") p99 of the quiet turns" ;;
		esac
	done
}

# What a set costs answers that the cache has: the look whether the kernel still holds it.
cached() {
	local i kind before after with without
	rm -f "$dir"/cached.*
	: > "$dir/ratios"
	start_push_far
	push_sets
	start_push "$(push_rule s s)"
	for kind in none s; do reader -w 64 8.8.8.8 2000 "$gw" - 0:$kind.test:1000:h >/dev/null; done
	for i in $(seq "$rounds"); do
		without=$(load 8.8.8.8 "$seconds" 256 none.test 1000)
		with=$(load 8.8.8.8 "$seconds" 256 s.test 1000)
		ratio "$with" "$without" >> "$dir/ratios"
		for kind in none s none s none s; do
			before=$(cpu_ns "$pid")
			reader 8.8.8.8 "$(in_round 10000)" "$gw" - 20000:$kind.test:1000:h > "$dir/read"
			after=$(cpu_ns "$pid")
			awk -v ns=$((after - before)) '{ printf "%.2f\n", ns / 1e3 / $1 }' "$dir/read" >> "$dir/cached.$kind"
		done
		echo "cached round $i: with $with, without $without answers/s, ratio $(ratio "$with" "$without");" \
			"at 20,000/s CPU $(tail -3 "$dir/cached.s" | median) us each with, $(tail -3 "$dir/cached.none" | median) without"
	done
	end_gateway
	end_far_ends
	echo "cached: $(median < "$dir/ratios") of the answers/s without a set"
	echo "cached: CPU $(median < "$dir/cached.s") us an answer with a set at 20,000/s, $(median < "$dir/cached.none") without"
}

push_lose() { # way → the command by which the set loses all
	local made="table inet bench { set s { type ipv4_addr; flags timeout; size 4000000; }; }"
	case $1 in
	flush) echo "nft flush set inet bench s" ;;
	anew) echo "echo 'delete set inet bench s; $made' | nft -f -" ;;
	reload) echo "echo 'add table inet bench; delete table inet bench; $made' | nft -f -" ;;
	restart) echo "nft delete table inet bench; sleep 0.3; echo '$made' | nft -f -" ;;
	ipset) echo "ipset flush bench" ;;
	esac
}
# The kernel tells nothing about ipsets: those are looked at every 2 s.
refill() {
	local i n way kind back since
	rm -f "$dir"/back.*
	start_push_far
	for i in $(seq "$rounds"); do
		for n in 100 10000; do
			push_sets
			start_push "$(push_rule s s)" "$(push_rule ipset ipset)"
			for way in flush anew reload restart ipset; do
				kind=s
				[ $way != ipset ] || kind=ipset
				read -r _ back since _ <<< "$(reader -w 64 -c "$(push_lose $way)" 8.8.8.8 $n "$gw" "$(push_text $kind)" 0:$kind.test:$n:r | tail -1)"
				echo "refill round $i: $way of $n: back after $back ms, $since since the command began"
				echo "${back/never/9999}" >> "$dir/back.$way.$n"
			done
			end_gateway
		done
	done
	end_far_ends
	for n in 100 10000; do
		for way in flush anew reload restart; do
			sum_up "refill $way of $n" "$dir/back.$way.$n" "ms until all are back" at-most $((n == 100 ? 100 : 1000))
		done
		sum_up "refill ipset of $n" "$dir/back.ipset.$n" "ms until all are back" at-most 3000
	done
}

# --- beside others ---

pushing_tungate() { # kind of set
	cat > "$dir/tungate.yaml" <<EOT
gateway: { lan: [lan0], intercept: off, workers: 1, watch: 0 }
listen: ["udp://$dns_at:53"]
fakeip: { store: "" }
upstreams: { wan: { servers: ["udp://$push_far:5301"], rebind: allow } }
egress: { direct: { type: direct, upstream: wan } }
cache: { size: 200k }
control: { socket: $dir/sock }
rules:
$(push_rule push "$1")
  - { name: rest, answer: real, upstream: wan }
EOT
	server=("$bin/tungate" run -c "$dir/tungate.yaml")
}
pushing_dnsmasq() {
	serve_dnsmasq
	sed -i "s/^server=.*/server=$push_far#5301/" "$dir/server.conf"
	case $1 in
	none) ;;
	ipset) echo "ipset=/push.test/bench" ;;
	*) echo "nftset=/push.test/4#inet#bench#$1" ;;
	esac >> "$dir/server.conf"
}
pushing_smartdns() {
	serve_smartdns
	sed -i "s/^server .*/server $push_far:5301/" "$dir/server.conf"
	case $1 in
	none) ;;
	ipset) printf 'ipset-timeout %s\nipset /push.test/bench\n' "${2:-yes}" ;;
	*) printf 'nftset-timeout %s\nnftset /push.test/#4:inet#bench#%s\n' "${2:-yes}" "$1" ;;
	esac >> "$dir/server.conf"
}
pushing_smartdns_forever() { pushing_smartdns "$1" no; } # its elements have no timeout
pushing_chinadns_ng() { # its nft sets have to be interval sets
	echo push.test > "$dir/push.names"
	cat > "$dir/server.conf" <<EOT
bind-addr $dns_at
bind-port 53
china-dns $push_far#5301
trust-dns $push_far#5301
cache 200000
group push
group-dnl $dir/push.names
group-upstream $push_far#5301
EOT
	case $1 in
	none) ;;
	ipset) echo "group-ipset bench" ;;
	*) echo "group-ipset inet@bench@$1" ;;
	esac >> "$dir/server.conf"
	server=(chinadns-ng -C "$dir/server.conf")
}
serve_pushing() { # name, kind of set; beside: s, beside the set ranges with 8,000
	push_sets
	[ "$2" != beside ] || push_ranges
	"pushing_$1" "${2/beside/s}"
}

# Names that it has in its cache, right after their set was flushed, an ipset's 3 s later once more; then new names as
# fast as it can.
push_peer() { # name, kind of set → new names/s, answers, without their element; of cached ones; 3 s later
	local rate got without after=0 after_got=0 later=- set=${2/beside/s} text
	text=$(push_text "$set")
	if [ "$2" != none ]; then
		reader -w 16 $dns_at 200 "$gw" - 0:push.test:200:k >/dev/null
		if [ "$2" = ipset ]; then gw ipset flush bench; else gw nft flush set inet bench "$set"; fi
		read -r after_got after _ <<< "$(reader -w 16 $dns_at 200 "$gw" "$text" 0:push.test:200:k)"
	fi
	if [ "$2" = ipset ]; then
		sleep 3
		read -r _ later _ <<< "$(reader -w 16 $dns_at 200 "$gw" "$text" 0:push.test:200:k)"
	fi
	read -r got without _ _ _ rate _ <<< "$(reader -w $dns_window -s "$(third 2)" $dns_at 1000000 "$gw" "$text" 0:push.test:0:n)"
	echo "$rate $got $without $after_got $after $later"
}
push_peers() {
	local i name kind rate got without after after_got later servers=(tungate dnsmasq smartdns smartdns_forever)
	rm -f "$dir"/peer.*
	if command -v chinadns-ng >/dev/null; then
		servers+=(chinadns_ng)
	else
		echo "push_peers: no chinadns-ng here (Debian has none)"
	fi
	start_push_far
	for i in $(seq "$rounds"); do
		for name in "${servers[@]}"; do
			for kind in none s beside plain ipset; do
				case $name.$kind in # who takes only sets of that kind, or is slow enough without, or has been met
				chinadns_ng.none | chinadns_ng.plain | chinadns_ng.ipset) ;;
				chinadns_ng.* | *.plain | smartdns.beside | smartdns_forever.none | smartdns_forever.beside) continue ;;
				esac
				start_dns pushing "$name" "$kind" || continue
				push_peer "$name" "$kind" | tee -a "$dir/peer.$name.$kind" > "$dir/peer"
				end_dns
				read -r rate got without after_got after later < "$dir/peer"
				echo "push_peers round $i: $name, ${push_words[$kind]}: $rate new names/s, $without of $got answers without their element;" \
					"after a flush $after of $after_got cached ones$([ "$later" = - ] || echo ", 3 s later $later")"
			done
		done
	done
	end_far_ends
	for name in "${servers[@]}"; do
		for kind in none s beside plain ipset; do
			[ -s "$dir/peer.$name.$kind" ] || continue
			echo "push_peers: $name, ${push_words[$kind]}: $(cut -d' ' -f1 "$dir/peer.$name.$kind" | median) new names/s," \
				"$(awk '{ for (i = 2; i <= 6; i++) n[i] += $i } END {
					print n[3] " of " n[2] " answers without their element, after a flush " n[5] " of " n[4] " cached ones" ($6 == "-" ? "" : ", 3 s later " n[6]) }' "$dir/peer.$name.$kind")"
		done
	done
}
