//! `data:` URLs, in which OpenAI's clients put the bytes of images and files.

use super::Untranslatable;
use super::json::invalid;
use crate::unified::Source;

/// Reads the place of an image or a file.
pub(crate) fn read(mut url: String) -> Result<Source, Untranslatable> {
    let Some(rest) = url.strip_prefix("data:") else {
        let known = url.starts_with("https://") || url.starts_with("http://");
        return if known { Ok(Source::Url(url)) } else { Err(invalid("expected an http, https or data URL")) };
    };
    let parts = rest.split_once(',').and_then(|(head, base64)| Some((head.strip_suffix(";base64")?, base64)));
    let Some((head, base64)) = parts else { return Err(invalid("expected data:<media type>;base64,<data>")) };
    // A parameter such as a file's name may follow the type.
    let media_type = head.split(';').next().unwrap_or(head);
    let (media_type, before) = (media_type.to_owned(), url.len() - base64.len());
    // In place: the data may be megabytes.
    url.drain(..before);
    Ok(Source::Inline { media_type, base64: url })
}

/// As one URL.
pub(crate) fn write(source: &Source) -> String {
    match source {
        Source::Url(url) => url.clone(),
        Source::Inline { media_type, base64 } => format!("data:{media_type};base64,{base64}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_clients_write() {
        let inline = |media_type: &str, base64: &str| Source::Inline {
            media_type: media_type.to_owned(),
            base64: base64.to_owned(),
        };
        let cases = [
            ("https://x/a.png", Some(Source::Url("https://x/a.png".to_owned()))),
            ("data:image/png;base64,AAA=", Some(inline("image/png", "AAA="))),
            ("data:application/pdf;name=a.pdf;base64,AAA=", Some(inline("application/pdf", "AAA="))),
            ("data:image/png,AAA", None),
            ("data:image/png;base64", None),
            ("file:///etc/passwd", None),
        ];
        for (url, want) in cases {
            let got = read(url.to_owned()).ok();
            assert_eq!(got, want, "{url}");
        }
    }
}
