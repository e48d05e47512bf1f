package adversary

func handshakes() []Trick { return nil }
func urgents() []Trick    { return nil }
func subflows() []Trick   { return nil }
func records() []Trick    { return nil }
func hellos() []Trick     { return nil }
func middles() []Trick    { return nil }
func packets() []Trick    { return nil }
