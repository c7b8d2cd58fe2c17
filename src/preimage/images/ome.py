"""OME-XML of a file written anew: the sizes, pages and pixel sizes it has now, and everything else as it was."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

from preimage.images.samples import TiffLayout


def updated_ome(xml: str, layout: TiffLayout, shape: tuple[int, ...], planes: int) -> str:
    """The description for an array of this shape along layout.axes, stored as so many planes in their order.

    Other images of the source, identifiers of the source file and where its planes lay in it are left out, and so are
    regions of interest, which count in pixels of the source, if the picture is of another size.
    """
    root = ElementTree.fromstring(xml)
    namespace = root.tag[1:].partition("}")[0] if root.tag.startswith("{") else ""
    ElementTree.register_namespace("", namespace)
    root.attrib.pop("UUID", None)  # names the source file, and this is another
    images = [child for child in root if _local(child) == "Image"]
    for number, image in enumerate(images):
        if number != layout.series:
            root.remove(image)
    pixels = next(child for child in images[min(layout.series, len(images) - 1)] if _local(child) == "Pixels")
    sizes = dict(zip(layout.axes, shape, strict=True))
    for axis in "XY":
        old, new = int(pixels.attrib[f"Size{axis}"]), sizes[axis]
        pixels.set(f"Size{axis}", str(new))
        physical = pixels.attrib.get(f"PhysicalSize{axis}")
        if physical is not None and new != old:
            pixels.set(f"PhysicalSize{axis}", repr(float(physical) * old / new))
        if new != old:
            for parent in (root, *images):
                for child in [child for child in parent if _local(child) in ("ROI", "ROIRef")]:
                    parent.remove(child)
    if not layout.complete:
        pixels.set("SizeZ", "1")
        pixels.set("SizeT", "1")
    if "BigEndian" in pixels.attrib:
        pixels.set("BigEndian", "true" if layout.byteorder == ">" else "false")
    _renumber(pixels, namespace, planes, complete=layout.complete)
    return '<?xml version="1.0" encoding="UTF-8"?>' + ElementTree.tostring(root, encoding="unicode")


def _renumber(pixels: ElementTree.Element, namespace: str, planes: int, *, complete: bool) -> None:
    places = [i for i, child in enumerate(pixels) if _local(child) == "TiffData"]
    place = places[0] if places else sum(_local(child) == "Channel" for child in pixels)
    for child in list(pixels):
        if _local(child) == "TiffData" or (_local(child) == "Plane" and not complete):
            pixels.remove(child)
    tag = f"{{{namespace}}}TiffData" if namespace else "TiffData"
    pixels.insert(place, ElementTree.Element(tag, {"IFD": "0", "PlaneCount": str(planes)}))


def _local(element: ElementTree.Element) -> str:
    return element.tag.rpartition("}")[2]
