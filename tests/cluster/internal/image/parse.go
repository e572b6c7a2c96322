package image

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// ParseFile reads SOURCE=TARGET[:MODE], the mode in octal.
func ParseFile(text string) (File, error) {
	source, rest, ok := strings.Cut(text, "=")
	target, mode, hasMode := strings.Cut(rest, ":")
	if !ok || source == "" || target == "" {
		return File{}, fmt.Errorf("%q is not of the form SOURCE=TARGET[:MODE]", text)
	}
	file := File{Source: source, Target: target}
	if hasMode {
		parsed, err := parseMode(mode)
		if err != nil {
			return File{}, err
		}
		file.Mode = parsed
	}
	return file, nil
}

// ParseDir reads PATH[:MODE[:UID]].
func ParseDir(text string) (Dir, error) {
	parts := strings.Split(text, ":")
	if len(parts) > 3 || parts[0] == "" {
		return Dir{}, fmt.Errorf("%q is not of the form PATH[:MODE[:UID]]", text)
	}
	dir := Dir{Path: parts[0], Mode: 0o755}
	if len(parts) > 1 {
		mode, err := parseMode(parts[1])
		if err != nil {
			return Dir{}, err
		}
		dir.Mode = mode
	}
	if len(parts) > 2 {
		uid, err := strconv.Atoi(parts[2])
		if err != nil || uid < 0 {
			return Dir{}, fmt.Errorf("%q is not a user's number", parts[2])
		}
		dir.UID = uid
	}
	return dir, nil
}

func parseMode(text string) (os.FileMode, error) {
	mode, err := strconv.ParseUint(text, 8, 32)
	if err != nil || mode == 0 || mode > 0o7777 {
		return 0, fmt.Errorf("%q is not a permission in octal", text)
	}
	return os.FileMode(mode), nil
}
