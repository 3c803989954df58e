// Package sqldbtest opens databases for tests and holds every SQL constant of a package against a migrated database.
package sqldbtest

import (
	"fmt"
	"go/ast"
	"go/constant"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"sotto/internal/sqldb"
)

// CheckStatements prepares every constant named sqlSomething in the Go files of dir (without tests) on the migrated db,
// and reports those whose plan reads a whole table, except the ones that scansAllowed names with a reason. A reason
// that is no longer needed is reported too. What is named sqlSomethingArrays is for PostgreSQL alone. %s stands for a list: of sqldb.In after IN, of sqldb.Values after VALUES.
func CheckStatements(t testing.TB, dir string, db *sqldb.DB, scansAllowed map[string]string) {
	t.Helper()
	statements, err := statementsIn(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(statements) == 0 {
		t.Errorf("no constant named sql… in %s", dir)
	}
	for name, text := range statements {
		expanded, err := expandLists(text)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if strings.HasSuffix(name, "Arrays") && On(t) == SQLite {
			continue // the form for engines that take lists as arguments
		}
		scans, err := db.Scans(t.Context(), expanded)
		_, allowed := scansAllowed[name]
		switch {
		case err != nil:
			t.Errorf("%s: %v\n%s", name, err, expanded)
		case len(scans) > 0 && !allowed:
			t.Errorf("%s reads a whole table, it needs an index: %s", name, strings.Join(scans, "; "))
		case len(scans) == 0 && allowed && On(t) == SQLite: // the planners differ in what they call reading a table
			t.Errorf("%s reads no whole table any more, take it off the list", name)
		}
	}
	for name := range scansAllowed {
		if _, ok := statements[name]; !ok {
			t.Errorf("%s is on the list and does not exist", name)
		}
	}
}

var statementName = regexp.MustCompile(`^sql[A-Z]`)

// statementsIn evaluates the string constants of a package: literals and sums of literals and other such constants.
func statementsIn(dir string) (map[string]string, error) {
	paths, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		return nil, err
	}
	exprs := make(map[string]ast.Expr)
	for _, path := range paths {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		collectConstants(file, exprs)
	}
	statements := make(map[string]string)
	for name, expr := range exprs {
		if !statementName.MatchString(name) {
			continue
		}
		if statements[name], err = evaluate(expr, exprs); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	return statements, nil
}

// collectConstants keeps package-level constants. A statement anywhere else escapes the check, so it is an error there.
func collectConstants(file *ast.File, exprs map[string]ast.Expr) {
	for _, decl := range file.Decls {
		gen, ok := decl.(*ast.GenDecl)
		if !ok || gen.Tok != token.CONST {
			continue
		}
		for _, spec := range gen.Specs {
			value := spec.(*ast.ValueSpec)
			for i, name := range value.Names {
				if i < len(value.Values) {
					exprs[name.Name] = value.Values[i]
				}
			}
		}
	}
}

func evaluate(expr ast.Expr, exprs map[string]ast.Expr) (string, error) {
	switch e := expr.(type) {
	case *ast.BasicLit:
		v := constant.MakeFromLiteral(e.Value, e.Kind, 0)
		if v.Kind() != constant.String {
			return "", fmt.Errorf("%s is not a string", e.Value)
		}
		return constant.StringVal(v), nil
	case *ast.ParenExpr:
		return evaluate(e.X, exprs)
	case *ast.Ident:
		if next, ok := exprs[e.Name]; ok {
			return evaluate(next, exprs)
		}
	case *ast.BinaryExpr:
		left, err := evaluate(e.X, exprs)
		if err != nil {
			return "", err
		}
		right, err := evaluate(e.Y, exprs)
		return left + right, err
	}
	return "", fmt.Errorf("a statement is a sum of string literals and constants of its package, not %T", expr)
}

var (
	list          = regexp.MustCompile(`(?i)\b(IN|VALUES)\s*%s`)
	numbered      = regexp.MustCompile(`\$([0-9]+)`)
	insertColumns = regexp.MustCompile(`(?i)^\s*(?:WITH.*)?INSERT\s+INTO\s+\w+\s*\(([^)]*)\)`)
)

// expandLists gives every list two members, so that the statement is what it is at run time.
func expandLists(text string) (string, error) {
	next := 1
	for _, m := range numbered.FindAllStringSubmatch(text, -1) {
		if n, err := strconv.Atoi(m[1]); err == nil {
			next = max(next, n+1)
		}
	}
	for {
		at := list.FindStringSubmatchIndex(text)
		if at == nil {
			break
		}
		expansion := " " + sqldb.In(next, 2)
		used := 2
		if strings.EqualFold(text[at[2]:at[3]], "VALUES") {
			columns := insertColumns.FindStringSubmatch(text)
			if columns == nil {
				return "", fmt.Errorf("VALUES %%s without INSERT INTO table (columns)")
			}
			n := strings.Count(columns[1], ",") + 1
			expansion, used = " "+sqldb.Values(next, 2, n), 2*n
		}
		text = text[:at[3]] + expansion + text[at[1]:]
		next += used
	}
	if strings.Contains(text, "%") {
		return "", fmt.Errorf("%% only as %%s after IN or VALUES")
	}
	return text, nil
}

var plainTx = regexp.MustCompile(`\bs\.tx\((?:r\.Context\(\)|ctx), "?([\w ]+)"?`)

// CheckTransactions finds in the Go files of dir (without tests) each transaction that s.tx begins without locking
// anything, and reports those that are not in locks, which says what each of them locks itself.
func CheckTransactions(t testing.TB, dir string, locks map[string]string) {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	found := make(map[string]bool)
	for _, path := range paths {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range plainTx.FindAllStringSubmatch(string(text), -1) {
			if found[m[1]] = true; locks[m[1]] == "" {
				t.Errorf("transaction %q in %s locks nothing first; on PostgreSQL others run beside it", m[1], filepath.Base(path))
			}
		}
	}
	for name := range locks {
		if !found[name] {
			t.Errorf("transaction %q is on the list and does not exist", name)
		}
	}
}
