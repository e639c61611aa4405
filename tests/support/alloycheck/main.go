// Alloycheck reads an Alloy configuration on standard input with Alloy's own parser, and prints its
// blocks as JSON: what each is called, its attributes, and the blocks in it.
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/grafana/alloy/syntax/ast"
	"github.com/grafana/alloy/syntax/parser"
)

type block struct {
	Name       string   `json:"name"`
	Label      string   `json:"label"`
	Attributes []string `json:"attributes"`
	Blocks     []block  `json:"blocks"`
}

func told(body ast.Body) ([]string, []block) {
	attributes, blocks := []string{}, []block{}
	for _, statement := range body {
		switch one := statement.(type) {
		case *ast.AttributeStmt:
			attributes = append(attributes, one.Name.Name)
		case *ast.BlockStmt:
			a, b := told(one.Body)
			blocks = append(blocks, block{strings.Join(one.Name, "."), one.Label, a, b})
		}
	}
	return attributes, blocks
}

func main() {
	text, err := io.ReadAll(os.Stdin)
	if err == nil {
		var file *ast.File
		if file, err = parser.ParseFile("config.alloy", text); err == nil {
			_, blocks := told(file.Body)
			err = json.NewEncoder(os.Stdout).Encode(blocks)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
