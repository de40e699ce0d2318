# The parts of scripts/bench about rules over a million names; read by it, uses its lab and functions.
# The names are real ones where ../shared/data is there, else made by the program `names`, of the same shape. Servers
# listen on the router's own address, nothing is intercepted, so an answer costs little beside its look-up. Files are in
# memory (/run): what a disk takes to read them is not measured.
rules_data=../shared/data
rules_at=192.168.77.1
names_count=
patience_s=120 # for the first answer of any server

# names.txt: the list. Of the queries: hits.txt are listed or below a listed name, misses.txt are neither;
# listed.txt: some of the list itself. Nothing that a gateway answers by itself whatever its rules are.
rules_names() {
	[ -z "$names_count" ] || return 0
	if [ -r $rules_data/rules/domains-1m.txt.gz ] && [ -r $rules_data/queries/names-100k.txt ]; then
		zcat $rules_data/rules/domains-1m.txt.gz > "$dir/names.txt"
		cp --no-preserve=mode $rules_data/queries/names-100k.txt "$dir/queries.txt"
		echo "names: real ones of $rules_data"
	else
		"$programs/names" list 1000000 > "$dir/names.txt"
		"$programs/names" queries 100000 > "$dir/queries.txt"
		echo "names: generated (no $rules_data)"
	fi
	names_count=$(wc -l < "$dir/names.txt")
	awk -v hits="$dir/hits.all" -v misses="$dir/misses.all" '
		NR == FNR { listed[tolower($1)]; next }
		/\.(arpa|local|lan|internal|onion|alt|test|invalid|localhost|example)$/ || !/\./ { next }
		/(^|\.)(use-application-dns\.net|mask(-h2)?\.icloud\.com)$/ { next }
		{
			name = tolower($1)
			while (!(name in listed) && (dot = index(name, ".")) > 0)
				name = substr(name, dot + 1)
			print $1 > (name in listed ? hits : misses)
		}' "$dir/names.txt" "$dir/queries.txt"
	head -20000 "$dir/hits.all" > "$dir/hits.txt"
	head -20000 "$dir/misses.all" > "$dir/misses.txt"
	awk -v step=$((names_count / 20000)) 'NR % step == 1' "$dir/names.txt" | head -20000 > "$dir/listed.txt"
	last_listed=$(tail -1 "$dir/names.txt")
	rm "$dir/hits.all" "$dir/misses.all"
}

configure_rules() { # lists, one a line; rules before the last, one a line
	cat > "$dir/tungate.yaml" <<EOT
gateway: { lan: [lan0], intercept: off, workers: 1, watch: 0 }
listen: ["udp://$rules_at:53"]
fakeip: { store: "", except: { builtin: no } }
upstreams: { wan: { servers: ["udp://10.99.0.54:5300"], rebind: allow } }
egress: { direct: { type: direct, upstream: wan } }
${1:+lists:}
$1
rules:
$2
  - { name: rest, answer: fake, egress: direct }
control: { socket: $dir/sock }
EOT
}
without_list() { configure_rules "" ""; }
one_list() { configure_rules "  all: [$1]" "  - { name: all, list: all, answer: block }"; } # file
twenty_lists() {
	local i lists="" rules=""
	[ -e "$dir/part.00" ] || split -n r/20 -d "$dir/names.txt" "$dir/part."
	for i in $(seq -w 0 19); do
		lists+="  part$i: [$dir/part.$i]"$'\n'
		rules+="  - { name: part$i, list: part$i, answer: fake, egress: direct }"$'\n'
	done
	configure_rules "$lists" "$rules"
}

cpu_ns() { cat "/proc/$1/task"/*/schedstat | awk '{ n += $1 } END { printf "%.0f\n", n }'; } # pid

# Starts a server on the router and waits for its first right answer. Not our child: first's; `first.pid` is there while
# it runs. Into a file, not a variable: the server has the same standard output, which would be waited for.
start_server() { # core or "", words for first ("-b -n NAME" or none), program, argument... → milliseconds in $started_ms, of CPU in $started_cpu_ms
	local core=$1 words=$2
	shift 2
	# shellcheck disable=SC2086 # words are words
	if ! cl "$programs/first" -t $patience_s $words "$rules_at" "$gw" "$dir/first.pid" \
		${core:+/usr/bin/taskset -c "$core"} "$@" > "$dir/first.ms" 2> "$dir/server.log"; then
		end_server
		return 1
	fi
	pid=$(cat "$dir/first.pid")
	started_cpu_ms=$(($(cpu_ns "$pid") / 1000000))
	started_ms=$(head -1 "$dir/first.ms")
}
end_server() {
	local left=200
	[ -s "$dir/first.pid" ] || return 0
	pid=$(cat "$dir/first.pid")
	kill "$pid" 2>/dev/null || true
	while kill -0 "$pid" 2>/dev/null; do
		[ $((left--)) -gt 0 ] || kill -9 "$pid" 2>/dev/null || true
		sleep 0.05
	done
	rm -f "$dir/first.pid"
	pid=
}
start_tungate() { start_server "$1" "$2" "$bin/tungate" run -c "$dir/tungate.yaml" || { cat "$dir/server.log" >&2; return 1; }; }
hwm() { awk '/VmHWM/ { print $2 }' "/proc/$1/status"; }
ms_of() { # command... → milliseconds
	local before=${EPOCHREALTIME/./}
	"$@" >/dev/null
	echo $(((${EPOCHREALTIME/./} - before) / 1000))
}
minus() { awk -v a="$1" -v b="$2" 'BEGIN { printf "%.1f\n", a - b }'; }

rules_start() {
	local i what before after none_ms none_rss words text_ms text_rss text_hwm image_ms image_rss check_ms compile_ms
	compile_ms=$(ms_of "$bin/tungate" compile "$dir/names.txt" -o "$dir/names.image")
	for what in text_ms text_rss text_hwm image_ms image_rss check_ms; do : > "$dir/$what"; done
	for i in $(seq "$rounds"); do
		for what in none text image; do
			case $what in
			none) without_list; words= ;;
			text) one_list "$dir/names.txt"; words="-b -n $last_listed" ;;
			image) one_list "$dir/names.image"; words="-b -n $last_listed" ;;
			esac
			[ $what != text ] || check_ms=$(ms_of "$bin/tungate" check -c "$dir/tungate.yaml")
			start_tungate "" "$words"
			sleep 0.5
			printf -v ${what}_ms %s "$started_ms"
			printf -v ${what}_cpu %s "$started_cpu_ms"
			printf -v ${what}_rss %s "$(rss "$pid")"
			printf -v ${what}_hwm %s "$(hwm "$pid")"
			end_server
		done
		# shellcheck disable=SC2154 # by printf -v
		echo "rules round $i: without the list $none_ms ms (CPU $none_cpu), $none_rss kB; text $text_ms ms (CPU $text_cpu), $text_rss kB (at most $text_hwm kB while loading), check $check_ms ms; image $image_ms ms (CPU $image_cpu), $image_rss kB (at most $image_hwm kB)"
		minus "$text_ms" "$none_ms" >> "$dir/text_ms"
		minus "$image_ms" "$none_ms" >> "$dir/image_ms"
		awk -v a="$text_rss" -v b="$none_rss" 'BEGIN { printf "%.2f\n", (a - b) * 1024 / 1e6 }' >> "$dir/text_rss"
		awk -v a="$image_rss" -v b="$none_rss" 'BEGIN { printf "%.2f\n", (a - b) * 1024 / 1e6 }' >> "$dir/image_rss"
		echo "$check_ms" >> "$dir/check_ms"
	done
	sum_up "rules text" "$dir/text_rss" "MB of memory more than without the list" at-most 8
	sum_up "rules text" "$dir/text_ms" "ms to the first right answer more than without" at-most 1000
	sum_up "rules check" "$dir/check_ms" "ms" at-most 1000
	awk -v b="$(stat -c %s "$dir/names.image")" -v n="$names_count" 'BEGIN { printf "%.2f\n", b / n }' > "$dir/image_size"
	sum_up "rules image" "$dir/image_size" "bytes a name, compiled in $compile_ms ms" at-most 8
	sum_up "rules image" "$dir/image_ms" "ms to the first right answer more than without" at-most 20
	sum_up "rules image" "$dir/image_rss" "MB of memory more than without the list" at-most 8
}

ask_once() { cl taskset -c 1 "$programs/load" "$rules_at" 0 64 file "$1" found >/dev/null; } # file; now all have fake addresses
# Of the server whose pid is at hand. The CPU time tells more than the rate where other work shares the machine.
names_rate() { # file, found|blocked [seconds] → answers a second, lost, wrong, slowest ms, CPU us an answer
	local before after time=${3:-$seconds}
	before=$(cpu_ns "$pid")
	cl taskset -c 1 "$programs/load" "$rules_at" "$time" 64 file "$1" "$2" > "$dir/rate"
	after=$(cpu_ns "$pid")
	awk -v ns=$((after - before)) -v s="$time" '{ printf "%s %.2f\n", $0, $1 ? ns / 1e3 / ($1 * s) : 0 }' "$dir/rate"
}
# One gateway, that is told to take the lists and to drop them in turn, for half a second each: what else the machine
# does meets both, and each half second is compared with the next. All answers are fake ones, by the list's rule or the
# last.
rules_answers() {
	local i names
	rm -f "$dir"/ratios.* "$dir"/cpu.*
	without_list
	start_tungate 0 ""
	for i in $(seq "$rounds"); do
		for names in misses hits; do
			rm -f "$dir"/slices.*
			ask_once "$dir/$names.txt"
			for _ in $(seq $((2 * seconds))); do
				twenty_lists
				"$bin/tungate" reload -s "$dir/sock" >/dev/null
				names_rate "$dir/$names.txt" found 0.5 >> "$dir/slices.own"
				without_list
				"$bin/tungate" reload -s "$dir/sock" >/dev/null
				names_rate "$dir/$names.txt" found 0.5 >> "$dir/slices.none"
			done
			paste -d' ' "$dir/slices.own" "$dir/slices.none" | awk '{ printf "%.3f %.3f\n", $1 / $6, $5 / $10 }' > "$dir/pairs"
			echo "rules answers round $i, $names: with $names_count names in 20 lists $(cut -d' ' -f1 "$dir/slices.own" | median) answers/s (CPU $(cut -d' ' -f5 "$dir/slices.own" | median) us), with none $(cut -d' ' -f1 "$dir/slices.none" | median) (CPU $(cut -d' ' -f5 "$dir/slices.none" | median) us), $(awk '{ n += $3 } END { print n }' "$dir"/slices.*) wrong, ratio slice by slice $(cut -d' ' -f1 "$dir/pairs" | median), of CPU time $(cut -d' ' -f2 "$dir/pairs" | median)"
			cut -d' ' -f1 "$dir/pairs" >> "$dir/ratios.$names"
			cut -d' ' -f2 "$dir/pairs" >> "$dir/cpu.$names"
		done
	done
	end_server
	sum_up "rules answers, names in no list" "$dir/ratios.misses" "of the same without lists" at-least 0.95
	sum_up "rules answers, listed names" "$dir/ratios.hits" "of the same without lists" at-least 0.95
	echo "rules answers: $(median < "$dir/cpu.misses") of the CPU time of an answer without lists for names in no list, $(median < "$dir/cpu.hits") for listed ones"
}

# Each reload takes another name into the last list, so that there is something to do, and is right when that is blocked.
rules_reload() {
	local i took calm loaded _ calm_ms slow_ms lost late hwm_before
	: > "$dir/took"
	: > "$dir/lost"
	for i in $(seq "$rounds"); do
		twenty_lists
		sed -i 's/part19, answer: fake, egress: direct/part19, answer: block/' "$dir/tungate.yaml"
		start_tungate 0 ""
		hwm_before=$(hwm "$pid")
		ask_once "$dir/misses.txt"
		read -r calm _ _ calm_ms _ <<< "$(names_rate "$dir/misses.txt" found)"
		cl taskset -c 1 "$programs/load" "$rules_at" $((seconds + 2)) 64 file "$dir/misses.txt" found > "$dir/load.reload" &
		sleep 1
		echo "new-$i.example.org" >> "$dir/part.19"
		took=$(ms_of "$bin/tungate" reload -s "$dir/sock")
		late=
		[ "$(cl dig +time=1 +tries=2 @$rules_at "new-$i.example.org" A | grep -c 'status: NXDOMAIN')" = 1 ] || late=", NOT in force when reload ended"
		wait $!
		read -r loaded lost _ slow_ms <<< "$(cat "$dir/load.reload")"
		echo "rules reload round $i: $took ms at $loaded answers/s, $lost lost, slowest answer $slow_ms ms ($calm_ms ms at $calm answers/s without a reload), at most $(hwm "$pid") kB ($hwm_before kB when started)$late"
		echo "$took" >> "$dir/took"
		echo "$lost" >> "$dir/lost"
		end_server
		sed -i '/^new-/d' "$dir/part.19"
	done
	echo "rules reload: $(median < "$dir/took") ms under load on one core"
	sort -n "$dir/lost" | tail -1 > "$dir/lost.most"
	sum_up "rules reload" "$dir/lost.most" "queries lost at most" at-most 0
}

# The matcher alone, without a daemon: names in one list and in twenty, prefixes, expressions. Real lists have some 160
# expressions; the program makes them up to 300.
rules_lookup() {
	local i name unit aim list=$rules_data/rules/domain-list-community/release/geolocation-!cn.txt
	if [ -r "$list" ]; then
		grep '^regexp:' "$list" > "$dir/expressions.txt"
		cat $rules_data/cidr/*.txt | grep -v '^#' > "$dir/prefixes.txt"
	else
		cat > "$dir/expressions.txt" <<'EOT'
(^|\.)cdn-?[0-9]*\.example\.(com|net|org)$
^ads?[0-9]{1,3}\..+\.click$
^[a-z0-9]{12}\.cloudstore\.example$
(^|\.)track(er|ing)?[0-9]*\.
^(.+[-.])?banner(s|server)?[0-9]*[-.]
^r[0-9]+---sn-[a-z0-9-]+\.video\.example$
\.media-[^.]+\.example\.net$
^api-\w+-\d+\.shop\.example$
EOT
		"$programs/names" prefixes 100000 > "$dir/prefixes.txt"
	fi
	: > "$dir/lookup"
	for i in $(seq "$rounds"); do
		taskset -c 1 "$programs/bench_match" "$dir/names.txt" "$dir/queries.txt" "$dir/prefixes.txt" > "$dir/lookup.round"
		taskset -c 1 "$programs/bench_patterns" "$dir/expressions.txt" "$dir/queries.txt" >> "$dir/lookup.round"
		echo "rules look-up round $i: $(tr -s ' \n' ' ' < "$dir/lookup.round")"
		cat "$dir/lookup.round" >> "$dir/lookup"
	done
	awk '$1 == "prefixes" { n = $2 } $1 == "prefixes_kib" { print "bytes_a_prefix", $2 * 1024 / n }' "$dir/lookup" > "$dir/values"
	cat "$dir/values" >> "$dir/lookup"
	while read -r name unit aim; do
		awk -v n="$name" '$1 == n { print $2 }' "$dir/lookup" > "$dir/values"
		sum_up "rules look-up $name" "$dir/values" "$unit" at-most "$aim"
	done <<EOT
listed_ns ns 250
questions_ns ns 250
listed_ns_in_20 ns 250
questions_ns_in_20 ns 250
resident_kib kiB 7812
image_bytes_a_name bytes 8
image_ms ms 20
prefixes_ns ns 100
bytes_a_prefix bytes 20
regexps_ns ns 3000
keywords_ns ns 3000
EOT
}

rules() {
	rules_names
	rules_lookup
	rules_start
	rules_answers
	rules_reload
}

# --- the others ---

# All on core 0 with the load on core 1, one after the other. Every one blocks the listed names and what is below them in
# the form that its manual gives for it, and has one fixed address of its own for all else, so that no upstream, no cache
# and nobody's forwarding is measured: a query is a look-up and an answer. SmartDNS has no rule for every name and gets
# one for each top-level name of the queries. An answer that blocks is NXDOMAIN, or NODATA at SmartDNS.
peer_dnsmasq() {
	sed 's#.*#address=/&/#' "$dir/names.txt" > "$dir/peer.names"
	cat > "$dir/peer.conf" <<EOT
listen-address=$rules_at
bind-interfaces
no-resolv
no-hosts
user=root
pid-file=
conf-file=$dir/peer.names
address=/#/192.0.2.1
EOT
	peer=(/usr/sbin/dnsmasq -k -C "$dir/peer.conf")
}
peer_unbound() {
	{ echo server:; sed 's#.*#local-zone: "&" always_nxdomain#' "$dir/names.txt"; } > "$dir/peer.names"
	cat > "$dir/peer.conf" <<EOT
server:
	interface: $rules_at
	access-control: 0.0.0.0/0 allow
	username: ""
	chroot: ""
	directory: "$dir"
	pidfile: ""
	use-syslog: no
	do-daemonize: no
	num-threads: 1
	module-config: "iterator"
	local-zone: "." redirect
	local-data: ". 60 IN A 192.0.2.1"
remote-control:
	control-enable: no
include: "$dir/peer.names"
EOT
	peer=(/usr/sbin/unbound -d -c "$dir/peer.conf")
}
peer_smartdns() {
	cat > "$dir/peer.conf" <<EOT
bind $rules_at:53
server 10.99.0.54:5300
speed-check-mode none
dualstack-ip-selection no
cache-size 0
cache-persist no
log-level error
log-file $dir/smartdns.log
domain-set -name listed -type list -file $dir/names.txt
address /domain-set:listed/#
EOT
	awk -F. '!seen[$NF]++ { print "address /" $NF "/192.0.2.1" }' "$dir/misses.txt" >> "$dir/peer.conf"
	peer=(/usr/sbin/smartdns -f -c "$dir/peer.conf" -p "$dir/peer.pid")
}
peer_tungate() { # file of the list
	one_list "$1"
	sed -i 's/- { name: rest, .*/- { name: rest, answer: local, address: 192.0.2.1 }/' "$dir/tungate.yaml"
	peer=("$bin/tungate" run -c "$dir/tungate.yaml")
}
peers() {
	local i name memory cpu_ms listed listed_cpu below below_cpu unlisted unlisted_cpu wrong
	rules_names
	[ -e "$dir/names.image" ] || "$bin/tungate" compile "$dir/names.txt" -o "$dir/names.image" >/dev/null
	rm -f "$dir"/peer.result.*
	for i in $(seq "$rounds"); do
		for name in dnsmasq unbound smartdns tungate "tungate, compiled"; do
			case $name in
			tungate) peer_tungate "$dir/names.txt" ;;
			"tungate, compiled") peer_tungate "$dir/names.image" ;;
			*) "peer_$name" ;;
			esac
			if ! start_server 0 "-b -n $last_listed" "${peer[@]}"; then
				echo "peers round $i: $name did not start in $patience_s s"
				continue
			fi
			sleep 0.5
			memory=$(rss "$pid") cpu_ms=$started_cpu_ms
			read -r listed _ wrong _ listed_cpu <<< "$(names_rate "$dir/listed.txt" blocked)"
			read -r below _ _ _ below_cpu <<< "$(names_rate "$dir/hits.txt" blocked)"
			read -r unlisted _ _ _ unlisted_cpu <<< "$(names_rate "$dir/misses.txt" found)"
			end_server
			echo "peers round $i: $name $memory kB, $started_ms ms to the first right answer (CPU $cpu_ms ms), answers/s: $listed for names of the list (CPU $listed_cpu us, $wrong wrong), $below for queries that it holds (CPU $below_cpu us), $unlisted for others (CPU $unlisted_cpu us)"
			echo "$memory $started_ms $listed $below $unlisted $listed_cpu $below_cpu $unlisted_cpu $cpu_ms" >> "$dir/peer.result.$name"
		done
	done
	rm -f "$dir/peer.names"
	for name in dnsmasq unbound smartdns tungate "tungate, compiled"; do
		[ -e "$dir/peer.result.$name" ] || { echo "peers: $name did not start in $patience_s s"; continue; }
		echo "peers: $name $(column_median 1) kB, $(column_median 2) ms (CPU $(column_median 9) ms), answers/s $(column_median 3) for names of the list, $(column_median 4) for queries that it holds, $(column_median 5) for others; CPU us an answer $(column_median 6), $(column_median 7), $(column_median 8)"
	done
}
column_median() { cut -d' ' -f"$1" "$dir/peer.result.$name" | median; } # of the program `name`
