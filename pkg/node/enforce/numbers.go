package enforce

import "fmt"

// numbers gives names small numbers, from 1. A number that nobody uses any more keeps its name until it is given to another one,
// which is as late as can be: what the kernel told of it can still be read.
type numbers struct {
	what   string // for errors
	max    uint32
	byName map[string]uint32
	rows   []numbered // by number; the first is not used
	free   []uint32   // in the order of their release; some may have been taken up again
	// wrote is told of each number that is given to a name, before anybody else is.
	wrote func(number uint32, name string) error
}

type numbered struct {
	name  string
	users int32
	freed bool // it is in free
}

// spare numbers are kept free while the table can grow.
const spare = 64

func newNumbers(what string, limit uint32) *numbers {
	return &numbers{what: what, max: limit, byName: map[string]uint32{}, rows: make([]numbered, 1), wrote: func(uint32, string) error { return nil }}
}

// take gives the number of a name to one more user.
func (n *numbers) take(name string) (uint32, error) {
	if number, ok := n.byName[name]; ok {
		n.rows[number].users++
		return number, nil
	}
	number, err := n.next()
	if err != nil {
		return 0, err
	}
	if err := n.wrote(number, name); err != nil {
		return 0, fmt.Errorf("number %s %q: %w", n.what, name, err)
	}
	delete(n.byName, n.rows[number].name)
	n.rows[number] = numbered{name: name, users: 1}
	n.byName[name] = number
	return number, nil
}

// next is a number that has no user.
func (n *numbers) next() (uint32, error) {
	grows := uint32(len(n.rows)) <= n.max
	for len(n.free) > 0 && (!grows || len(n.free) > spare) {
		number := n.free[0]
		n.free = n.free[1:]
		n.rows[number].freed = false
		if n.rows[number].users == 0 {
			return number, nil
		}
	}
	if !grows {
		return 0, fmt.Errorf("number %s: all %d numbers are in use; the map has to be larger", n.what, n.max)
	}
	n.rows = append(n.rows, numbered{})
	return uint32(len(n.rows) - 1), nil
}

// drop ends a use.
func (n *numbers) drop(number uint32) {
	if r := &n.rows[number]; r.users > 0 {
		if r.users--; r.users == 0 && !r.freed {
			r.freed = true
			n.free = append(n.free, number)
		}
	}
}

// restore has a name have a number, as before a restart. It has no user yet, and is not free before settle.
func (n *numbers) restore(number uint32, name string) {
	if number == 0 || number > n.max {
		return
	}
	for uint32(len(n.rows)) <= number {
		n.rows = append(n.rows, numbered{})
	}
	delete(n.byName, n.rows[number].name)
	if old, ok := n.byName[name]; ok {
		n.rows[old].name = ""
	}
	n.rows[number].name = name
	n.byName[name] = number
}

// settle frees what was restored and is not used.
func (n *numbers) settle() {
	for i := 1; i < len(n.rows); i++ {
		if r := &n.rows[i]; r.users == 0 && !r.freed {
			r.freed = true
			n.free = append(n.free, uint32(i))
		}
	}
}

// name is that of a number, or empty.
func (n *numbers) name(number uint32) string {
	if number >= uint32(len(n.rows)) {
		return ""
	}
	return n.rows[number].name
}
