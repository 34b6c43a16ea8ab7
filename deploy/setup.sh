# What the other scripts here need before they can work: packages, a Swift toolchain, a PostgreSQL
# server's binaries. Sourced, not run. Every function says what is missing and how to mend it.

# Debian's names of what the build, the tests and the quickstart use.
readonly BUILD_PACKAGES=(pkg-config libpq-dev libcurl4-openssl-dev)
readonly DATABASE_PACKAGES=(postgresql)
readonly OLDEST_SWIFT=6.2 OLDEST_POSTGRESQL=14

say() { printf '%s\n' "$*" >&2; }

die() {
    say "$(basename "$0"): $1"
    shift
    for line in "$@"; do say "  $line"; done
    exit 1
}

# Whether version $1 is at least version $2.
at_least() { [ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]; }

is_installed() {
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

# Installs those of the named packages that are missing, and says so before it does.
need_packages() {
    local missing=() package
    command -v dpkg-query >/dev/null ||
        die "this is neither Debian nor Ubuntu: packages cannot be installed for you" \
            "install what these packages hold, and run again with BILLINGD_SKIP_PACKAGES=1:" "$*"
    for package in "$@"; do
        is_installed "$package" || missing+=("$package")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    say "installing with apt: ${missing[*]}"
    local apt=(env DEBIAN_FRONTEND=noninteractive apt-get)
    if [ "$(id -u)" != 0 ]; then
        command -v sudo >/dev/null ||
            die "packages are missing and you have no right to install them" \
                "ask an administrator to run: apt-get install ${missing[*]}"
        say "(with sudo; it may ask for your password)"
        apt=(sudo "${apt[@]}")
    fi
    { "${apt[@]}" update -qq && "${apt[@]}" install -y -qq --no-install-recommends "${missing[@]}"; } \
        >&2 </dev/null ||
        die "apt could not install: ${missing[*]}" \
            "run it yourself to see why: apt-get install ${missing[*]}"
}

# All packages that are named, unless the caller vouches for them.
prepare_packages() {
    [ -n "${BILLINGD_SKIP_PACKAGES:-}" ] || need_packages "$@"
}

# What a test can do without, and is skipped: whoever misses it reads so here, and in the test's own line.
try_packages() {
    (prepare_packages "$@") || say "SKIPPED: the tests that need $*"
}

# axe-core (MPL 2.0) looks at a page for what keeps people from reading it. For tests alone: out of a
# package of PyPI with this very content, into .build/axe/axe.min.js.
readonly AXE_PACKAGE=axe-playwright-python==0.1.8
readonly AXE_HASH=sha256:fdd263c998388f1a8e67cad02677e612d946248bd44d163be5e8650ea31f95f8

prepare_axe() {
    local folder=.build/axe
    [ ! -f "$folder/axe.min.js" ] || return 0
    mkdir -p "$folder"
    python3 -m pip --version >/dev/null 2>&1 || try_packages python3-pip
    printf '%s --hash=%s\n' "$AXE_PACKAGE" "$AXE_HASH" >"$folder/wanted"
    if python3 -m pip download -q --disable-pip-version-check --no-deps --only-binary :all: \
        --require-hashes -r "$folder/wanted" -d "$folder" >"$folder/log" 2>&1 &&
        python3 -m zipfile -e "$folder"/*.whl "$folder/content" >>"$folder/log" 2>&1; then
        mv "$folder"/content/*/axe.min.js "$folder/axe.min.js"
    else
        say "SKIPPED: the test that needs axe-core ($AXE_PACKAGE of PyPI): $(tail -n 1 "$folder/log")"
    fi
}

need_swift() {
    local version
    command -v swift >/dev/null ||
        die "there is no Swift toolchain on the PATH" \
            "install Swift $OLDEST_SWIFT or newer: https://www.swift.org/install/linux/" \
            "then open a new shell, so that 'swift --version' answers, and run this again"
    version=$(swift --version 2>/dev/null | sed -n 's/.*Swift version \([0-9.]*\).*/\1/p' | head -n 1)
    at_least "${version:-0}" "$OLDEST_SWIFT" ||
        die "Swift ${version:-of unknown version} is too old: $OLDEST_SWIFT or newer is needed" \
            "https://www.swift.org/install/linux/"
}

# Prints the folder of the newest PostgreSQL server on this machine.
postgresql_bin() {
    local folder version
    for folder in $(printf '%s\n' /usr/lib/postgresql/*/bin | sort -rV) \
        "$(pg_config --bindir 2>/dev/null)" "$(dirname "$(command -v postgres || echo /)")"; do
        [ -x "$folder/postgres" ] && [ -x "$folder/initdb" ] || continue
        version=$("$folder/postgres" --version | sed 's/[^0-9]*\([0-9]*\).*/\1/')
        if at_least "$version" "$OLDEST_POSTGRESQL"; then
            printf '%s\n' "$folder"
            return 0
        fi
    done
    die "there is no PostgreSQL server $OLDEST_POSTGRESQL or newer on this machine" \
        "install one: apt-get install postgresql"
}
