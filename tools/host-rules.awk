# SPDX-License-Identifier: MIT
# Link rules of the unit tests and fuzzers, out of the lines `// sources: a.c b.asl` at their heads.
# Run by the Makefile with -v build=FOLDER and the test files as arguments.
function object(path) {
	if (path ~ /\.asl$/)
		return objects "/" path ".o"
	sub(/\.c$/, ".o", path)
	return objects "/" path
}

FNR == 1 {
	fuzz = FILENAME ~ /^tests\/fuzz\//
	objects = build (fuzz ? "/fuzz-objects" : "/host")
	binary = FILENAME
	sub(/^tests\//, build "/", binary)
	sub(/\.c$/, "", binary)
	print binary ": " object(FILENAME)
}

/^\/\/ sources:/ {
	line = ""
	for (i = 3; i <= NF; i++)
		line = line " " object($i)
	print binary ":" line
}
