// This function returns the visible texts whose contrast to their background is below least,
// each preceded by its contrast. Contrast is defined by WCAG 2 and ranges from 1 to 21:
// https://www.w3.org/TR/WCAG22/#dfn-contrast-ratio
(least => {
	const canvas = document.createElement("canvas").getContext("2d", {willReadFrequently: true});

	// rgba parses a color in any notation that the browser knows.
	const rgba = color => {
		canvas.clearRect(0, 0, 1, 1);
		canvas.fillStyle = color;
		canvas.fillRect(0, 0, 1, 1);
		const [red, green, blue, alpha] = canvas.getImageData(0, 0, 1, 1).data;
		return [red, green, blue, alpha / 255];
	};
	const over = (above, below, opacity) => {
		const alpha = above[3] * opacity;
		return [0, 1, 2].map(i => above[i] * alpha + below[i] * (1 - alpha)).concat(1);
	};
	// The default background of the browser, which depends on the color scheme.
	const probe = document.createElement("i");
	probe.style.color = "Canvas";
	document.documentElement.append(probe);
	const bare = rgba(getComputedStyle(probe).color);
	probe.remove();
	// behind returns the combined background color of the element and its ancestors.
	const behind = element => {
		if (!element) return bare;
		const style = getComputedStyle(element);
		return over(rgba(style.backgroundColor), behind(element.parentElement), style.opacity);
	};
	const luminance = color => {
		const [red, green, blue] = color.map(channel => channel / 255)
			.map(share => share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4);
		return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
	};
	const contrast = (one, other) => {
		const [darker, lighter] = [luminance(one), luminance(other)].sort((a, b) => a - b);
		return (lighter + 0.05) / (darker + 0.05);
	};

	const faint = [];
	const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
	while (texts.nextNode()) {
		const text = texts.currentNode.data.trim();
		const element = texts.currentNode.parentElement;
		if (!text || !element.checkVisibility() || !element.getClientRects().length) continue;
		let opacity = 1;
		for (let e = element; e; e = e.parentElement) opacity *= getComputedStyle(e).opacity;
		const style = getComputedStyle(element);
		const background = behind(element);
		const color = over(rgba(element instanceof SVGElement ? style.fill : style.color), background, opacity);
		const ratio = contrast(color, background);
		if (ratio < least) faint.push(ratio.toFixed(2) + " " + text);
	}
	return faint;
})
