"""Indoor scenes with true labels, ray-cast from furniture models of real size.

`catalogue` reads the furniture, `surfaces` makes textures and simple shapes, `scene` holds triangles, `wall` and
`room` furnish a room, `camera` looks into it, `labels` turns what the rays met into targets. `make_rooms.py` puts them
together.

Room coordinates: x and y along the walls, z up, metres. A model's front looks towards -y before it is turned.
"""
