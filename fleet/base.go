package fleet

// A Base is embedded by every [Engine]. It holds what the throttlers of one process on
// that engine share. Its zero value is ready for use; it must not be copied.
type Base struct{}

func (b *Base) base() *Base { return b }
