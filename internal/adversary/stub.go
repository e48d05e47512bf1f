package adversary

func records() []Trick { return nil }
func hellos() []Trick  { return nil }
func middles() []Trick { return nil }
func packets() []Trick { return nil }
